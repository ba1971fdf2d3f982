"""The words that numbers are made of in English, German, French, Spanish and Dutch."""
