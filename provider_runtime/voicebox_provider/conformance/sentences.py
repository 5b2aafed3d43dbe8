"""What the provider on trial is asked to say: a little text for each script that a voice may list."""

from __future__ import annotations

from typing import NamedTuple

from voicebox_protocol.capabilities import Voice


class Phrases(NamedTuple):
    """Two sentences of several words each."""

    first: str
    second: str


LATIN = Phrases("The harbour was quiet that morning.", "Nine gulls had gone out to sea.")
PHRASES = {
    "Latn": LATIN,
    "Arab": Phrases("كان الميناء هادئا في الصباح.", "ذهبت النوارس إلى البحر."),
    "Armn": Phrases("Նավահանգիստը առավոտյան հանգիստ էր.", "Ճայերը գնացել էին ծով."),
    "Beng": Phrases("সকালে বন্দরটি শান্ত ছিল।", "পাখিরা সমুদ্রে চলে গেছে।"),
    "Cyrl": Phrases("Утром в гавани было тихо.", "Чайки улетели в море."),
    "Deva": Phrases("सुबह बंदरगाह शांत था।", "पक्षी समुद्र की ओर चले गए।"),
    "Geor": Phrases("დილით ნავსადგური მშვიდი იყო.", "თოლიები ზღვაში წავიდნენ."),
    "Grek": Phrases("Το λιμάνι ήταν ήσυχο το πρωί.", "Οι γλάροι είχαν πάει στη θάλασσα."),
    "Hebr": Phrases("הנמל היה שקט בבוקר.", "השחפים עפו לים."),
    "Jpan": Phrases("今朝、港は静かでした。", "カモメは海へ行きました。"),
    "Kore": Phrases("아침에 항구는 조용했습니다.", "갈매기는 바다로 갔습니다."),
    "Hans": Phrases("早上的港口很安静。", "海鸥都飞到海上去了。"),
    "Taml": Phrases("காலையில் துறைமுகம் அமைதியாக இருந்தது.", "பறவைகள் கடலுக்குச் சென்றன."),
    "Telu": Phrases("ఉదయం ఓడరేవు ప్రశాంతంగా ఉంది.", "పక్షులు సముద్రానికి వెళ్ళాయి."),
    "Thai": Phrases("เช้านี้ท่าเรือเงียบสงบ", "นกบินออกไปในทะเล"),
}
# Digits belong to no script, and every voice reads them.
NUMBERS = Phrases("1, 2, 3, 4, 5.", "6, 7, 8, 9, 10.")

_ALIKE = {"Hant": "Hans", "Hani": "Hans", "Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan", "Hrkt": "Jpan"}
_FOREIGN = ("Geor", "Armn", "Cyrl")


def phrases_for(voice: Voice | None) -> Phrases:
    """Two sentences in a script that the voice lists; in Latin letters if it lists none."""
    scripts = voice.scripts if voice else []
    known = sorted({_ALIKE.get(script, script) for script in scripts} & set(PHRASES), key=_least_shared)
    return PHRASES[known[0]] if known else NUMBERS if scripts else LATIN


def _least_shared(code: str) -> tuple[bool, str]:
    """Han characters last: a voice that has kana or hangul as well reads those of its own language only."""
    return code == "Hans", code


def foreign_to(voice: Voice | None) -> str:
    """A sentence in a script that the voice does not list."""
    scripts = voice.scripts if voice else []
    return next(PHRASES[code].first for code in _FOREIGN if code not in scripts)


def long_word(voice: Voice | None, length: int) -> str:
    """One word of so many letters, or digits where that is all we have."""
    letters = "".join(filter(str.isalnum, phrases_for(voice).first))
    return (letters * (length // len(letters) + 1))[:length]


def long_text(voice: Voice | None, length: int) -> str:
    """Sentences of at most so many characters together, at least one."""
    one = " ".join(phrases_for(voice)) + " "
    return (one * max(1, length // len(one))).strip()[:length]
