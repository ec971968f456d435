"""Which names are the same to a person, which are not, and how a message shows the difference."""

from __future__ import annotations

import pytest

from siamese.data import names

NFC, NFD = "J\u00fcrgen", "Ju\u0308rgen"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NFC, NFD),
        ("Ann", "ANN"),
        ("Ann", "ann "),
        ("Ann", "\u00a0Ann"),
        ("Ann Lee", "Ann\u00a0Lee"),
        ("Ann Lee", "Ann  Lee"),
        ("Ann Lee", "Ann\u3000Lee"),
        ("Ann", "A\u200bnn"),
        ("Ann", "\ufeffAnn"),
        ("Ann", "An\u00adn"),
        ("Ann", "Ann\ufe0f"),
        ("Ann 1", "\uff21\uff4e\uff4e\u3000\uff11"),
        ("\u30e4\u30de\u30c0", "\uff94\uff8f\uff80\uff9e"),  # Yamada in full-width and half-width letters
        ("O'Brien", "O\u2019Brien"),
        ("Ann-Lee", "Ann\u2011Lee"),
        ("\u0130pek", "I\u0307pek"),
        ("\u039d\u0399\u039a\u039f\u03a3", "\u03bd\u03b9\u03ba\u03bf\u03c2"),
    ],
)
def test_spellings_of_one_name_are_the_same(one: str, other: str) -> None:
    assert names.canonical_name(one) == names.canonical_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jurgen", NFC),
        ("Wei\u00df", "Weiss"),
        ("AnnLee", "Ann Lee"),
        ("person-1", "person-01"),
        ("Ann", "\u0410nn"),  # a Cyrillic A
    ],
)
def test_names_of_different_people_stay_different(one: str, other: str) -> None:
    assert names.canonical_name(one) != names.canonical_name(other)


def test_a_canonical_name_is_its_own_canonical_form_and_keeps_plain_names() -> None:
    assert names.canonical_name("writer-003") == "writer-003"
    for name in (NFD, "\u0130pek", "\uff21\u00adnn  \u2019", "\u212b\u1e9e"):
        once = names.canonical_name(name)
        assert names.canonical_name(once) == once


def test_files_of_one_folder_are_compared_by_normal_form_alone() -> None:
    assert names.canonical_path(f"Ann/{NFD}.png") == names.canonical_path(f"ann/{NFC}.png")
    assert names.canonical_path("ann/1.PNG") != names.canonical_path("ann/1.png")
    assert names.canonical_path("1.PNG") != names.canonical_path("1.png")


def test_the_spelling_displayed_is_the_one_that_is_there_or_that_of_most_images_or_the_shortest() -> None:
    assert names.one_spelling(["ANN", "ann", "Ann", "ann"]) == dict.fromkeys(["ANN", "ann", "Ann"], "ann")
    assert names.one_spelling([NFD, NFC, "Ann", "ann", "ann\u200b"]) == {
        NFD: NFC, NFC: NFC, "Ann": "Ann", "ann": "Ann", "ann\u200b": "Ann",
    }  # fmt: skip
    assert names.one_spelling([NFC, "Ben"], kept=[NFD]) == {NFC: NFD, "Ben": "Ben"}


def test_look_alikes_are_listed_so_that_they_can_be_told_apart() -> None:
    assert names.look_alikes(["ben", NFC, "Ann", NFD, "ann\u00a0"]) == [["Ann", "ann\u00a0"], [NFD, NFC]]
    assert names.distinctly(NFC) == f"'{NFC}'"
    assert names.distinctly(NFD) == r"'Ju\u0308rgen'"
    assert names.distinctly("ann \u200b\u00a0") == r"'ann \u200b\xa0'"


def test_a_warning_names_five_groups_and_counts_the_rest() -> None:
    (line,) = names.folder_warnings([name for letter in "abcdefg" for name in (letter, letter.upper())])
    assert "'A' and 'a'; 'B' and 'b'; 'C' and 'c'; 'D' and 'd'; 'E' and 'e'; and 2 more: " in line


@pytest.mark.parametrize(
    ("folders", "almost"),
    [
        (["anchors", "positives", "negatives"], ["anchors", "negatives", "positives"]),
        (["anchor", "positive"], ["anchor", "positive"]),
        (["POS", "neg", "ann"], ["POS", "neg"]),
        (["Anchor images", "negative_imgs"], ["Anchor images", "negative_imgs"]),
        (["anchor", "anchors"], []),
        (["Posner", "Negri", "Ancona"], []),
    ],
)
def test_folders_named_nearly_like_roles_are_told_from_people(folders: list[str], almost: list[str]) -> None:
    assert names.almost_roles(folders) == almost


def test_a_name_that_is_not_there_is_nearly_the_same_as_one_with_its_letters() -> None:
    assert names.nearly_the_same("Jurgen-b", [f"{NFD} B.", "Jurgens", "Georg"]) == [f"{NFD} B."]
    assert names.nearly_the_same("STRASSE", ["Stra\u00dfe"]) == ["Stra\u00dfe"]
