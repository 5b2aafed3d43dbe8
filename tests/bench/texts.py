"""What the built-in voice says for the bench: prose, whose segments are single sentences; verse, whose segments are stanzas
of which each line is heard as soon as it is spoken; and a book, which is prose of some length."""

from __future__ import annotations

SENTENCES = (
    "The tide was out, and the harbour lay quiet under a sky the colour of slate.",
    "Nobody had come down to the boats since the morning, when the wind had gone round to the north.",
    "She counted the steps twice, and there were forty-one of them, as there had always been.",
    "He asked about the lamp.",
    "It was still burning in the window, though the oil must have been low by then.",
    "Along the wall the nets hung drying, stiff with salt, and somebody had left a pair of boots beside them.",
    "There was no more to be said about it, so they talked about the price of rope instead.",
    "When the bell rang at last it was so faint that each of them believed the other had imagined it.",
    "They went up together.",
    "Behind them the water came back over the stones, slowly at first, and then all at once.",
)
PROSE = " ".join(SENTENCES)

VERSE = "\n\n".join(
    (
        "The lamp is lit, the door is shut\nthe wind goes round the wall\nand someone counts the steps again\nand does not count them all.",
        "The boats are drawn above the tide\nthe nets are hung to dry\nand nobody has asked the sea\nand nobody knows why.",
        "A bell was rung, or was it not\nthe one who heard it slept\nand dreamt about a pair of boots\nand where the boots were kept.",
        "The oil is low, the night is long\nthe rope is hard to buy\nso let us talk of other things\nthan water and the sky.",
        "The stones are wet, the stones are dry\nthe morning takes its turn\nand those who went along the wall\nwill presently return.",
    )
)

BOOK = " ".join(
    f"This is where chapter {number} begins. {PROSE}" for number in ("one", "two", "three", "four", "five", "six")
)
