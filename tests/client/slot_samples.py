"""What people say to homes of their own in five languages, with its slots; written by hand."""

from __future__ import annotations

from fedstill_proto.text.slots import HomeNames

HOME = HomeNames(
    areas=(
        *("Sauna", "Pantry", "Wintergarten", "Werkstatt", "Véranda"),
        *("Cellier", "Despensa", "Serre", "Bijkeuken"),
    ),
    things=(
        *("Rosie", "Opa's lamp", "Lava lamp", "Lavalampe", "Beamer"),
        *("lampe de papi", "Tostadora", "Kattenluik"),
    ),
)
"""What is declared where the sentences are said."""

MARKED = (
    "set the [lava lamp](name) to [fifty percent](number)",
    "set the [lava lamp](name) to [50%](number)",
    "turn on [Rosie](name) in the [pantry](area)",
    "Turn off [Opa's lamp](name), please",
    "start [rosie](name)",
    "turn on the lights in the [sauna](area)",
    "set a timer for [an hour and a half](duration)",
    "set a [5 minute](duration) timer",
    "set a timer for [half an hour](duration)",
    "turn the [pantry](area) lights [red](color)",
    "set the lights in the [sauna](area) to [blue](color)",
    "set the temperature to [21.5 degrees](temperature)",
    "set the [sauna](area) temperature to [68 °F](temperature)",
    "stelle die [Lavalampe](name) auf [fünfzig Prozent](number)",
    "schalte den [Beamer](name) in der [Werkstatt](area) aus",
    "mach das licht im [Wintergarten](area) an",
    "stelle einen timer auf [anderthalb Stunden](duration)",
    "stelle einen timer für [eine halbe Stunde](duration)",
    "timer [fünfundzwanzig minuten](duration)",
    "mach das licht in der [Werkstatt](area) [rot](color)",
    "stelle die temperatur auf [zwanzig Grad](temperature)",
    "starte [rosie](name)",
    "licht im [wintergarten](area) auf [30 %](number)",
    "allume la [lampe de papi](name)",
    "règle la [lampe de papi](name) à [quatre-vingt-dix pour cent](number)",
    "allume la lumière dans la [véranda](area)",
    "éteins la lumière du [cellier](area)",
    "mets un minuteur de [une heure et demie](duration)",
    "minuteur de [vingt-cinq minutes](duration)",
    "mets la lumière de la [véranda](area) en [bleu](color)",
    "règle la température à [vingt degrés](temperature)",
    "enciende la [tostadora](name)",
    "apaga las luces de la [despensa](area)",
    "pon la luz de la [despensa](area) al [cincuenta por ciento](number)",
    "pon un temporizador de [media hora](duration)",
    "pon un temporizador de [una hora y media](duration)",
    "pon la luz de la [despensa](area) en [verde](color)",
    "pon la temperatura a [veintidós grados](temperature)",
    "zet [rosie](name) aan",
    "doe de lampen in de [serre](area) uit",
    "zet het licht in de [bijkeuken](area) op [vijftig procent](number)",
    "zet een timer voor [anderhalf uur](duration)",
    "zet een timer voor [een kwartier](duration)",
    "maak het licht in de [serre](area) [groen](color)",
    "zet de temperatuur op [twintig graden](temperature)",
    "is het [kattenluik](name) open",
)
