"""Sentences of a small generated grammar in English, German and French, for translation without any file.

Nobody said these sentences: subjects, verbs and objects are drawn at random, so what they say is often odd. What a
translator must learn is real: German cases, endings of adjectives, the verb's place in main clauses, questions and
after "weil", participles at the end; French gender and number, most adjectives behind their noun, "ne … pas". Each
sentence has exactly one translation, so a perfect one scores BLEU 100, which no real text allows.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Any

LANGUAGES = ("en", "de", "fr")
SPLITS = {"val": 300, "test": 300, "train": 6000}

# English singular and plural, German gender, singular and plural, French gender, singular and plural.
_NOUNS = [
    line.split()
    for line in """
    dog dogs m Hund Hunde m chien chiens
    cat cats f Katze Katzen m chat chats
    horse horses n Pferd Pferde m cheval chevaux
    cow cows f Kuh Kühe f vache vaches
    pigeon pigeons f Taube Tauben m pigeon pigeons
    boy boys m Junge Jungen m garçon garçons
    girl girls n Mädchen Mädchen f fille filles
    woman women f Frau Frauen f femme femmes
    teacher teachers m Lehrer Lehrer m professeur professeurs
    king kings m König Könige m roi rois
    queen queens f Königin Königinnen f reine reines
    neighbour neighbours f Nachbarin Nachbarinnen f voisine voisines
    car cars n Auto Autos f voiture voitures
    book books n Buch Bücher m livre livres
    letter letters m Brief Briefe f lettre lettres
    house houses n Haus Häuser f maison maisons
    boat boats n Boot Boote m bateau bateaux
    chair chairs m Stuhl Stühle f chaise chaises
    flower flowers f Blume Blumen f fleur fleurs
    table tables m Tisch Tische f table tables
    """.strip().splitlines()
]
_BEINGS = 12  # the nouns that may be a subject come first
_WEAK = {"Junge": "Jungen"}  # accusative singular

# English, German stem, French forms (masculine, feminine, then both in plural), whether it stands behind the noun.
_ADJECTIVES = [
    line.split()
    for line in """
    small klein petit petite petits petites before
    big groß grand grande grands grandes before
    young jung jeune jeune jeunes jeunes before
    beautiful schön beau belle beaux belles before
    funny lustig drôle drôle drôles drôles behind
    elegant elegant élégant élégante élégants élégantes behind
    modern modern moderne moderne modernes modernes behind
    strange seltsam bizarre bizarre bizarres bizarres behind
    tired müd fatigué fatiguée fatigués fatiguées behind
    quiet ruhig calme calme calmes calmes behind
    """.strip().splitlines()
]

# English infinitive, third person, participle; German infinitive, third person singular, participle;
# French infinitive, third person singular and plural, participle.
_VERBS = [
    line.split()
    for line in """
    see sees seen sehen sieht gesehen voir voit voient vu
    paint paints painted malen malt gemalt peindre peint peignent peint
    look_for looks_for looked_for suchen sucht gesucht chercher cherche cherchent cherché
    find finds found finden findet gefunden trouver trouve trouvent trouvé
    carry carries carried tragen trägt getragen porter porte portent porté
    know knows known kennen kennt gekannt connaître connaît connaissent connu
    show shows shown zeigen zeigt gezeigt montrer montre montrent montré
    follow follows followed verfolgen verfolgt verfolgt suivre suit suivent suivi
    take takes taken nehmen nimmt genommen prendre prend prennent pris
    draw draws drawn zeichnen zeichnet gezeichnet dessiner dessine dessinent dessiné
    """.strip().splitlines()
]
_PLACES = [
    ("in the garden", "im Garten", "dans le jardin"),
    ("on the beach", "am Strand", "sur la plage"),
    ("in front of the theatre", "vor dem Theater", "devant le théâtre"),
    ("near the river", "am Fluss", "près du fleuve"),
    ("behind the castle", "hinter dem Schloss", "derrière le château"),
]
_TIMES = [
    ("today", "heute", "aujourd'hui"),
    ("here", "hier", "ici"),
    ("sometimes", "manchmal", "parfois"),
    ("at night", "nachts", "la nuit"),
]

_DETERMINERS = ("the", "a", "the", "some", "two", "three")  # the first two with a singular, the others with a plural
_GERMAN_ARTICLES = {  # (English, gender or plural): (nominative, accusative)
    ("the", "m"): ("der", "den"),
    ("the", "f"): ("die", "die"),
    ("the", "n"): ("das", "das"),
    ("the", "p"): ("die", "die"),
    ("a", "m"): ("ein", "einen"),
    ("a", "f"): ("eine", "eine"),
    ("a", "n"): ("ein", "ein"),
    ("some", "p"): ("einige", "einige"),
    ("two", "p"): ("zwei", "zwei"),
    ("three", "p"): ("drei", "drei"),
}
_GERMAN_ENDINGS = {  # of an adjective behind these: (nominative, accusative)
    ("the", "m"): ("e", "en"),
    ("the", "f"): ("e", "e"),
    ("the", "n"): ("e", "e"),
    ("the", "p"): ("en", "en"),
    ("a", "m"): ("er", "en"),
    ("a", "f"): ("e", "e"),
    ("a", "n"): ("es", "es"),
}
_FRENCH_PLURALS = {"the": "les", "some": "quelques", "two": "deux", "three": "trois"}
_FRENCH_SINGULARS = {("the", "m"): "le", ("the", "f"): "la", ("a", "m"): "un", ("a", "f"): "une"}


@dataclass(frozen=True)
class _Phrase:
    """Determiner, perhaps an adjective, and a noun; as subject or as object."""

    determiner: str
    plural: bool
    adjective: Any
    noun: list[str]

    @property
    def english(self) -> str:
        words = (self.determiner, self.adjective and self.adjective[0], self.noun[self.plural])
        return " ".join(filter(None, words))

    def german(self, case: int) -> str:
        """case 0: nominative, 1: accusative."""
        key = (self.determiner, "p" if self.plural else self.noun[2])
        noun = self.noun[4 if self.plural else 3]
        adjective = self.adjective and self.adjective[1] + _GERMAN_ENDINGS.get(key, ("e", "e"))[case]
        noun = _WEAK.get(noun, noun) if case and not self.plural else noun
        return " ".join(filter(None, (_GERMAN_ARTICLES[key][case], adjective, noun)))

    @property
    def french(self) -> str:
        gender = self.noun[5]
        article = _FRENCH_PLURALS[self.determiner] if self.plural else _FRENCH_SINGULARS[self.determiner, gender]
        noun = self.noun[7 if self.plural else 6]
        adjective = self.adjective and self.adjective[2 + (gender == "f") + 2 * self.plural]
        behind = adjective and self.adjective[-1] == "behind"
        return " ".join(filter(None, (article, *((noun, adjective) if behind else (adjective, noun)))))


def _phrase(draw: random.Random, nouns: list[list[str]]) -> _Phrase:
    kind = draw.randrange(len(_DETERMINERS))
    adjective = draw.choice(_ADJECTIVES) if draw.random() < 0.4 else None
    return _Phrase(_DETERMINERS[kind], kind > 1, adjective, draw.choice(nouns))


@dataclass(frozen=True)
class _Clause:
    """Subject, verb, object, perhaps a place; its tense, and whether it is denied."""

    subject: _Phrase
    verb: list[str]
    object: _Phrase
    place: tuple[str, str, str]
    tense: str
    denied: bool

    def english(self, question: bool = False) -> str:
        base, third, participle = (form.replace("_", " ") for form in self.verb[:3])
        plural, denied = self.subject.plural, "not" if self.denied else ""
        if self.tense == "can":
            first, rest = ("cannot" if self.denied and not question else "can"), base
        elif self.tense == "perfect":
            first, rest = f"{'have' if plural else 'has'} {'' if question else denied}", participle
        elif self.denied or question:
            first, rest = f"{'do' if plural else 'does'} {'' if question else denied}", base
        else:
            first, rest = base if plural else third, ""
        order = (first, self.subject.english) if question else (self.subject.english, first)
        between = denied if question else ""
        return _joined(*order, between, rest, self.object.english, self.place[0])

    def german(self, order: str) -> str:
        """order "main", "inverted" (question, or behind what stands first), or "last" (after "weil")."""
        infinitive, third, participle = self.verb[3:6]
        plural = self.subject.plural
        finite, rest = {
            "present": (infinitive if plural else third, ""),
            "perfect": ("haben" if plural else "hat", participle),
            "can": ("können" if plural else "kann", infinitive),
        }[self.tense]
        subject = self.subject.german(0)
        middle = (self.object.german(1), "nicht" if self.denied else "", self.place[1], rest)
        first = {"main": (subject, finite), "inverted": (finite, subject), "last": (subject,)}[order]
        return _joined(*first, *middle, finite if order == "last" else "")

    def french(self) -> str:
        infinitive, singular, plurals, participle = self.verb[6:10]
        plural = self.subject.plural
        finite, rest = {
            "present": (plurals if plural else singular, ""),
            "perfect": ("ont" if plural else "a", participle),
            "can": ("peuvent" if plural else "peut", infinitive),
        }[self.tense]
        if self.denied:
            finite = f"n'{finite} pas" if self.tense == "perfect" else f"ne {finite} pas"
        return _joined(self.subject.french, finite, rest, self.object.french, self.place[2])


def _clause(draw: random.Random, short: bool = False) -> _Clause:
    place = draw.choice(_PLACES) if not short and draw.random() < 0.4 else ("", "", "")
    tense = draw.choice(("present", "present", "perfect", "can"))
    subject, verb, thing = _phrase(draw, _NOUNS[:_BEINGS]), draw.choice(_VERBS), _phrase(draw, _NOUNS)
    return _Clause(subject, verb, thing, place, tense, draw.random() < 0.2)


def _joined(*words: str) -> str:
    return " ".join(" ".join(words).split())


def _that(clause: str) -> str:
    """French "que" before a clause, shortened before a vowel."""
    return f"qu'{clause}" if clause[0] in "aeiou" else f"que {clause}"


def _sentence(draw: random.Random) -> tuple[str, str, str]:
    kind = draw.choices(("main", "time", "question", "because"), (4, 2, 2, 2))[0]
    clause = _clause(draw, short=kind == "because")
    if kind == "main":
        parts, end = (clause.english(), clause.german("main"), clause.french()), "."
    elif kind == "time":
        english, german, french = draw.choice(_TIMES)
        parts, end = (
            (f"{english} {clause.english()}", f"{german} {clause.german('inverted')}", f"{french} {clause.french()}"),
            ".",
        )
    elif kind == "question":
        parts = (clause.english(question=True), clause.german("inverted"), f"est-ce {_that(clause.french())}")
        end = "?"
    else:
        reason, end = _clause(draw, short=True), "."
        parts = (
            f"{clause.english()} because {reason.english()}",
            f"{clause.german('main')}, weil {reason.german('last')}",
            f"{clause.french()} parce {_that(reason.french())}",
        )
    space = (" " if end == "?" else "") + end  # French sets a space before the question mark
    ends = (end, end, space)
    english, german, french = (text[0].upper() + text[1:] + mark for text, mark in zip(parts, ends))
    return english, german, french


@functools.cache
def sentences() -> dict[str, list[tuple[str, str, str]]]:
    """For each split its (English, German, French) sentences, all different within and across the splits."""
    seen: set[str]
    draw, seen = random.Random(20260101), set()
    found: dict[str, list[tuple[str, str, str]]] = {}
    for split, count in SPLITS.items():
        found[split] = []
        while len(found[split]) < count:
            sentence = _sentence(draw)
            if not seen.intersection(sentence):
                seen.update(sentence)
                found[split].append(sentence)
    return found
