"""Words with which answers begin, whole and small: they hold nothing to hide, whatever
they turn out to be the beginning of.
"""

_BY_LANGUAGE = {
    "English": (
        "A According Absolutely After All Also Although An And Any As Assuming At Because Before Below "
        "Both But By Certainly Could Create Depending Do Does Each First For From Generally Given Great "
        "Hello Hey Hi Here How However I If In Indeed It Its Let Many May Maybe Most My Next No None Not "
        "Of Okay On Once One Our Overall Perhaps Please Possibly Probably Quick Since So Some Sometimes "
        "Sorry Sure Thank Thanks That The Their Then There These They This Those To Typically Under "
        "Unfortunately Usually Using We Well What When Where Whether Which While Who Why With Would Yes "
        "You Your"
    ),
    "French": (
        "Ah Alors Après Au Aucun Avec Bien Bonjour Bonsoir Ce Cela Certainement Ces Cet Cette Chaque "
        "Comme Dans De Des Depuis Deux Donc Du Elle Elles En Est Et Il Ils Je La Le Les Leur Mais "
        "Malheureusement Merci Mon Même Non Nous Notre On Oui Où Par Parce Pendant Pour Pourquoi Puis "
        "Quand Quel Quelle Quelques Qui Sans Selon Si Sous Sur Tous Tout Toutes Un Une Vous Votre Voici "
        "Voilà"
    ),
    "German": (
        "Als Am Auf Aus Bei Bitte Da Danke Das Dein Dem Den Der Deshalb Die Dies Diese Dieser Ein Eine Er "
        "Es Für Gerne Gern Guten Hallo Hier Ich Ihr Ihre Im Ist Ja Klar Leider Man Mit Nach Natürlich "
        "Nein Nicht Ob Oder Selbstverständlich Sie So Um Und Viele Vielen Von Wenn Wie Wir Zu Zum Zur"
    ),
    "Spanish": (
        "Algunos Aquí Así Aunque Buenos Claro Como Con Cuando De Del Desde Después El Ella Ellos En "
        "Entonces Es Esta Este Esto Gracias Hay Hola La Las Lo Los Más Mi No Para Pero Por Porque Primero "
        "Puede Puedes Que Se Según Si Sin Sí Tu Un Una"
    ),
    "Italian": (
        "Ecco Certo Ciao Come Con Da Gli Grazie Ho Il Io Le Mi Nel Non Per Perché Quando Questa Questo "
        "Sono Tra Una Uno"
    ),
    "Portuguese": ("As Aqui Claro Como Da Do Ele Eu Isso Não Obrigado Olá Os Para Pode Sim Uma Um Você"),
    "Dutch": ("Dat De Deze Dit Een Er Graag Het Hier Ik In Je Maar Met Natuurlijk Nee Om Op Voor Wat"),
}
_MARKS = ("{", '{"', "```", "**", "#", "##", "###")
OPENINGS = frozenset(_MARKS).union(*(words.split() for words in _BY_LANGUAGE.values()))
