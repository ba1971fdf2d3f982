"""Words by which people say that what follows is secret, and the words between, in some languages."""

from __future__ import annotations

from fedstill_proto.text.unlearned.parts import word_set

STRONG = word_set(
    "password passwords passwd pwd pw passcode passcodes passkey passphrase passphrases passwort "
    "passworte passwörter kennwort kennwörter losungswort mdp contraseña contraseñas contrasena "
    "clave wachtwoord wachtwoorden toegangscode zugangscode zugangsdaten senha senhas palavra-passe "
    "palavra-chave parola-chiave heslo hasło hasla hasłem jelszó jelszava salasana salasanani "
    "lösenord lösenordet adgangskode adgangskoden kodeord passord passordet şifre şifrem parola "
    "parolă parolam lozinka lozinku geslo slaptažodis parole parool пароль пароля пароли паролем "
    "κωδικός סיסמה סיסמא הסיסמה पासवर्ड पिन كلمةالمرور pincode pin-code geheimzahl pinnummer "
    "geheimnummer otp totp cvv cvc cvv2 password's pass-phrase pass-code lykilorð aðgangsorð sandi "
    "nenosiri wagwoord pasahitza cyfrinair focal-faire"
)
NAMES = word_set(
    "username usernames user-name benutzername nutzername anmeldename identifiant pseudonyme usuario "
    "gebruikersnaam login logins inloggegevens anvädarnamn användarnamn brukernavn käyttäjätunnus "
    "użytkownik uživatel логин kullanıcı screenname handle skype snapchat telegram userid user-id"
)
WEAK = word_set(
    "pass exp expiry "
    "pin pins code codes key keys token tokens secret user users id ids number nummer numéro numero "
    "número kode kod kód codice código codigo clé cle chiave llave sleutel schlüssel account konto "
    "compte cuenta rekening conto conta tan puk iban bic swift ssn nie dni nif bsn card karte carte "
    "tarjeta kaart carta cartão passport reisepass pasaporte paspoort passeport plate kennzeichen "
    "kenteken matrícula matricula plaque licence license lizenz combination kombination combinación "
    "combinaison combinatie combo vault safe tresor coffre kluis wifi wi-fi wlan código-pin код кода "
    "коды пин карта счет счёт номер κωδικος κωδικοι pino pinul sifra zip plz postcode postleitzahl "
    "verification verifizierung vérification verificación verificatie backup recovery activation 2fa "
    "mfa authenticator"
)
NAMED = word_set("pass pin token secret user login code key account puk tan")  # with ":" or "=" behind them
PHRASES = frozenset({"passphrase", "pass-phrase", "mnemonic", "wiederherstellungsphrase", "seedphrase"})
BEFORE_PHRASE = word_set("seed recovery secret backup wallet mnemonic semilla récupération herstel")
PAIRS = {  # words of which the last two together name a secret
    ("de", "passe"), ("de", "acceso"), ("d'accès", "code"), ("d'ordine", "parola"), ("parola", "d'ordine"),
    ("palabra", "clave"), ("kata", "sandi"), ("mật", "khẩu"), ("كلمة", "السر"), ("كلمة", "المرور"),
    ("pass", "phrase"),
    ("pass", "word"), ("pass", "code"), ("nom", "d'utilisateur"), ("nome", "utente"), ("nombre", "usuario"),
    ("de", "usuario"), ("kullanıcı", "adı"),
}  # fmt: skip
IS = word_set(
    "is was are were be to as = : := -> => → is: 's ist lautet war sind heißt heisst est était sont "
    "c'est es son era fue è é era são sono ser zijn luidt was jest to brzmi je jsou van er är on var "
    "é это был равен είναι هو هي है था adalah ialah là ok is= become becomes became now"
)
LINKS = word_set(
    "the a an my our your his her their new old current temporary own same for of on at in and with "
    "from by here still again just always only me you it it's its that's this that login log account "
    "email mail bank laptop phone computer server router website site app game netflix google gmail "
    "facebook admin root guest wifi wi-fi network house door gate office garage alarm card sim der "
    "die das den dem des mein meine meinem meiner unser dein neu neue neues neuer altes für von zum "
    "zur im am und mit le la les l' mon ma mes notre ton votre nouveau nouvelle pour de du des dans "
    "sur et el los las mi mis tu su nuestro nueva nuevo para del en y con il lo mio mia nuovo per di "
    "della nel o os meu minha nova novo da do no na e het een mijn ons jouw jullie nieuwe nieuw voor "
    "van op en met je uw oude moj moje mój do jego мой моя мое моё твой новый новая от для к и на "
    "benim yeni icin için số number nummer numéro número numero code word phrase pin key : - – — | > "
    "»"
)
ORDINARY_BEHIND = word_set(
    "not no wrong incorrect right correct too required needed necessary invalid valid expired set "
    "reset changed saved stored missing empty blank weak strong long short secure safe secret "
    "private public different what where how why who when if because but so very really never ever "
    "gone lost forgotten written asked accepted rejected protected encrypted hashed case-sensitive "
    "sensitive working broken fine okay good bad there something anything nothing everything someone "
    "like one two ready being used nicht kein keine falsch richtig zu sehr ungültig abgelaufen nötig "
    "erforderlich leer geheim sicher schwach stark lang kurz vergessen gespeichert was wo wie weg "
    "pas non faux incorrect incorrecte trop invalide expiré nécessaire requis vide secret secrète "
    "sûr faible forte oublié perdu muy incorrecta correcta demasiado inválida necesaria obligatoria "
    "vacía secreta segura débil olvidada niet geen fout verkeerd juist te ongeldig verlopen nodig "
    "vereist leeg geheim veilig zwak sterk vergeten kwijt não sbagliata errata corretta scaduta "
    "necessaria"
)
SUBJECTS = word_set(
    "this that it what here there which where who how he she they we you i these those one das dies "
    "dieses hier was wo wie es er sie ce c' ceci cela ça qui où quoi quel quelle il elle esto eso "
    "este ese esta esa qué cual cuál dónde aquí dit dat het wat hier waar wie dieser questo questa "
    "quello cosa qual isto isso o so and"
)
PREPOSITIONS = word_set(
    "for of on at in to with from für von zum zur im am auf bei pour de du des dans sur del para en "
    "por con di per della nel voor van op do no da na для к от på til för i"
)
NUMBER_WORDS = word_set(
    "zero oh one two three four five six seven eight nine ten null eins zwei drei vier fünf sechs "
    "sieben acht neun zéro un deux trois quatre cinq sept huit neuf cero uno dos tres cuatro cinco "
    "seis siete ocho nueve nul een twee drie vijf zes zeven negen due tre quattro cinque sei sette "
    "otto nove um dois três quatro sete oito double triple"
)
