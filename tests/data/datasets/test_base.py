"""The recipes' protocols, on stand-ins of a few images: who meets whom, counted by hand.

On the published data: real_data/test_published_protocols.py. ORL, Omniglot: test_fetch.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from scipy import ndimage
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from benchmarks.recognition import orl_peer, target, textures
from siamese.data import catalog, splits
from siamese.data.datasets import lfw, sigcomp2009
from siamese.data.datasets.base import by_owner, owner
from siamese.errors import InputError
from siamese.evaluation import trials
from siamese.params import CatalogParams

PARAMS = CatalogParams(splits="protocol/splits.csv", train=0.7, test=0.2, validation=0.1, seed=0)

WRITERS = [f"{number:03}" for number in range(1, 80)]
FORGED = WRITERS[:19]


def scans() -> dict[str, object]:
    """Names as in SigComp2009: 79 writers of 7 signatures; of 19 the next writer has forged 3."""
    genuine = [f"genuine/{writer}/NFI-{writer}{n:02}{writer}.png" for writer in WRITERS for n in range(1, 8)]
    forged = [f"forgery/{writer}/NFI-{int(writer) + 1:03}{n:02}{writer}.png" for writer in FORGED for n in range(3)]
    return dict.fromkeys([*genuine, *forged, "README.txt"], lambda: b"")


def test_signatures_lie_by_whose_hand_imitates_whom() -> None:
    found = by_owner(sigcomp2009.images(scans()))
    assert len(found) == 79 + 19
    assert found["writer-001"][0] == "writer-001/NFI-00101001.png"
    assert found["writer-001.forged-by-writer-002"] == [
        f"writer-001.forged-by-writer-002/NFI-0020{n}001.png" for n in range(3)
    ]


def test_writers_who_test_were_never_trained_on_and_no_forgery_was() -> None:
    splits = sigcomp2009.protocol(sigcomp2009.images(scans()), {})["splits-writers"]
    assert splits.identity.is_unique and splits.split.value_counts().to_dict() == {
        "train": 48, "validation": 12, "test": 19,
    }  # fmt: skip
    assert set(splits.identity[splits.split == "test"]) == {f"writer-{writer}" for writer in FORGED}
    assert not splits.identity.str.contains("forged").any()


def test_one_reference_is_compared_with_every_other_signature_once() -> None:
    """19 x 21 pairs of one writer, 133 x 132 / 2 less those of two, and each of 57 forgeries with 7 signatures."""
    table = sigcomp2009.protocol(sigcomp2009.images(scans()), {})["trials-1"]
    assert table.groupby(["label", "kind"]).size().to_dict() == {
        (0, "random"): 133 * 132 // 2 - 19 * 21, (0, "skilled"): 57 * 7, (1, ""): 19 * 21,
    }  # fmt: skip
    assert table.claim.is_unique
    skilled = table[table.kind == "skilled"]
    assert (skilled.probe.map(owner).str.partition(".")[0] == skilled.reference.map(owner)).all()
    same = table.probe.map(owner) == table.reference.map(owner)
    assert (same == (table.label == 1)).all()


def test_five_references_meet_what_they_are_not() -> None:
    """Of each writer 5 draws: 2 other signatures, 3 forgeries, and 2 of each of 18 others; 5 rows a claim."""
    table = sigcomp2009.protocol(sigcomp2009.images(scans()), {})["trials-5"]
    claims = table.groupby("claim").agg(label=("label", "first"), kind=("kind", "first"), rows=("reference", "nunique"))
    assert (claims.rows == 5).all()
    assert claims.groupby(["label", "kind"]).size().to_dict() == {
        (0, "random"): 19 * 5 * 36, (0, "skilled"): 19 * 5 * 3, (1, ""): 19 * 5 * 2,
    }  # fmt: skip
    for _, rows in table.groupby("claim"):
        assert set(rows.probe).isdisjoint(rows.reference)
        assert rows.reference.map(owner).nunique() == 1


PAIRS = {
    lfw.TRAIN: b"2\nAnn\t1\t2\nBob\t1\t3\nAnn\t2\tCid\t1\nDan_Lee\t4\tBob\t1\n",
    lfw.TEST: b"1\nEve\t1\t2\nEve\t1\tFay\t10\n",
}


def test_lfw_s_pairs_are_those_of_its_lists() -> None:
    """The first line counts. Two numbers after one name are two images of that person."""
    assert lfw.pairs(PAIRS[lfw.TEST]) == [
        ("Eve/Eve_0001.jpg", "Eve/Eve_0002.jpg", 1),
        ("Eve/Eve_0001.jpg", "Fay/Fay_0010.jpg", 0),
    ]
    tables = lfw.protocol([], PAIRS)
    split = tables["splits-view1"].set_index("identity").split
    assert split[["Eve", "Fay"]].tolist() == ["test", "test"]
    assert set(split.index) == {"Ann", "Bob", "Cid", "Dan_Lee", "Eve", "Fay"}
    assert tables["trials-view1"].label.tolist() == [1, 0]
    assert tables["trials-view1-train"].label.tolist() == [1, 1, 0, 0]


def test_lfw_takes_the_images_that_pairs_name() -> None:
    names = ["lfw-deepfunneled/Ann/Ann_0001.jpg", "lfw-deepfunneled/Ann/Ann_0009.jpg", "x/Fay/Fay_0010.jpg"]
    lists = {f"protocol/{name}": (lambda text=text: text) for name, text in PAIRS.items()}
    found = lfw.images({**dict.fromkeys(names, lambda: b""), **lists})
    assert list(found) == ["Ann/Ann_0001.jpg", "Fay/Fay_0010.jpg"]


PEOPLE = {f"s{person}": [f"s{person}/{image}.png" for image in range(1, 11)] for person in range(1, 5)}


def test_a_target_s_images_lie_in_one_split_each_whoever_is_the_target() -> None:
    """Of 10 images 5 train, 2 validate, 3 test; the target's as anchor and positive, others' as negative."""
    places = dict(target.role_places(PEOPLE, "s2", seed=0))
    assert set(places) == {path for paths in PEOPLE.values() for path in paths}
    assert len({place for place, _ in places.values()}) == 40
    for person in PEOPLE:
        of = [(place.partition("/")[0], split) for path, (place, split) in places.items() if owner(path) == person]
        roles = {role for role, _ in of}
        assert roles == ({"anchor", "positive"} if person == "s2" else {"negative"})
        assert pd.Series([split for _, split in of]).value_counts().to_dict() == {
            "train": 5, "validation": 2, "test": 3,
        }  # fmt: skip
    other = dict(target.role_places(PEOPLE, "s3", seed=0))
    assert {path: split for path, (_, split) in other.items()} == {path: split for path, (_, split) in places.items()}


def test_a_target_s_claims_are_of_unseen_images() -> None:
    """3 test images of each of 4 people against the 5 that the target trained with."""
    places = dict(target.role_places(PEOPLE, "s2", seed=0))
    split = dict(places.values())
    table = target.claims(places)
    assert table.groupby("claim").label.first().value_counts().to_dict() == {1: 3, 0: 9}
    assert len(table) == 12 * 5
    assert {split[path] for path in table.probe} == {"test"} and {split[path] for path in table.reference} == {"train"}


def test_precision_at_recall_counts_what_is_accepted() -> None:
    """Right 0.9, 0.8, 0.7, 0.2. Three of four found from 0.7 on, where one wrong of 0.75 comes along: 3 of 4 right."""
    labels, scores = np.array([1, 1, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.7, 0.2, 0.75, 0.1, 0.3])
    assert target.precision_at_recall(labels, scores, 0.75) == (0.75, 0.75)
    assert target.precision_at_recall(labels, scores, 0.5) == (1.0, 0.5)
    assert target.precision_at_recall(labels, scores, 1.0) == (4 / 6, 1.0)
    assert target.precision_at_recall(labels, np.full(7, 0.5), 0.95) == (4 / 7, 1.0)  # a constant: the share of right


def test_targets_are_pooled_under_one_threshold() -> None:
    one = pd.DataFrame({"label": [1, 0, 0], "score": [0.9, 0.1, 0.2]})
    two = pd.DataFrame({"label": [1, 0, 0], "score": [0.5, 0.1, 0.6]})
    assert target.pooled({"a": one, "b": one}).startswith(
        "2 targets, 2 right and 4 wrong claims: precision 100.00% (100.00% to 100.00%) at recall 100.00%"
    )
    assert "precision 66.67%" in target.pooled({"a": one, "b": two})


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Blotches in the place of the textures."""
    rng = np.random.default_rng(0)
    noise = {name: ndimage.gaussian_filter(rng.normal(0, 1, (512, 512)), 1.5) for name in textures.TEXTURES}
    return {name: np.round(128 + 100 * field / np.abs(field).max()) for name, field in noise.items()}


def test_no_pixel_is_in_two_splits_and_no_kind_of_flaw() -> None:
    counted = np.zeros((512, 512), int)
    for region in textures.REGIONS.values():
        counted[region] += 1
    assert (counted == 1).all()
    kinds = [flaw.__name__ for flaws in textures.FLAWS.values() for flaw in flaws]
    assert len(kinds) == len(set(kinds)) == 22


@pytest.mark.parametrize("flaw", [flaw for flaws in textures.FLAWS.values() for flaw in flaws])
def test_flaws_are_subtle(flaw: textures.Flaw, pictures: dict[str, np.ndarray]) -> None:
    """1 to 4 % of the area; nowhere more than a local standard deviation, found here pixel by pixel."""
    rng = np.random.default_rng(1)
    for picture in pictures.values():
        [patch] = textures.patches_of(picture, 1, rng)
        found = textures.flawed(patch, flaw, rng)
        changed = found != patch
        assert 0.01 <= changed.mean() <= 0.04
        padded = np.pad(patch, 16, mode="symmetric")
        for row, column in zip(*np.nonzero(changed), strict=True):
            around = padded[row : row + 33, column : column + 33]
            assert abs(found[row, column] - patch[row, column]) <= around.std() + 1e-6
        assert (found == found.astype(np.uint8)).all()


@pytest.mark.parametrize("flaw", textures.FLAWS["train"])
def test_flaws_to_train_on_are_coarse(flaw: textures.Flaw, pictures: dict[str, np.ndarray]) -> None:
    """One to four of a kind, so 1 to 16 % of the area, where they don't overlap."""
    rng = np.random.default_rng(1)
    patches = textures.patches_of(pictures["brick"], 20, rng)
    changed = [(textures.flawed(patch, flaw, rng, coarse=True) != patch).mean() for patch in patches]
    assert 0.005 < min(changed) < 0.04 < max(changed) <= 0.16


@pytest.fixture
def few_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flawless, and of each kind of flaw: 14 kinds train, 4 validate, 4 test."""
    monkeypatch.setattr(textures, "PATCHES", {"train": (30, 5), "validation": (6, 3), "test": (8, 2)})


@pytest.mark.usefixtures("few_patches")
def test_patches_become_what_the_pipeline_takes(pictures: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Test claims are of test patches, flawless or not, against flawless training patches of their texture."""
    textures.make(tmp_path / "made", 0, pictures)
    found = catalog.listed_only(tmp_path / "made", catalog.collect(tmp_path / "made", 10_000), PARAMS)
    made = catalog.with_splits(found, PARAMS)
    assert (made.split == made.identity.str.partition(".")[0]).all()
    assert made.groupby("split").size().to_dict() == {
        "train": 3 * (30 + 14 * 5),
        "validation": 3 * (6 + 4 * 3),
        "test": 3 * 16,
    }
    table = trials.read(tmp_path / "made/protocol/trials.csv")
    claims = trials.claims_of(table)
    assert claims.groupby(["kind", "label"]).size().to_dict() == {
        (texture, label): 8 for texture in textures.TEXTURES for label in (0, 1)
    }
    assert table.reference.str.startswith("train.").all() and table.reference.str.contains(".flawless/").all()
    assert table.probe.str.startswith("test.").all()
    assert (table.probe.str.split(".").str[1] == table.reference.str.split(".").str[1]).all()
    with pytest.raises(InputError, match="is there already"):
        textures.make(tmp_path / "made", 0, pictures)


@pytest.mark.usefixtures("few_patches")
def test_a_seed_s_patches_are_always_the_same(pictures: dict[str, np.ndarray]) -> None:
    first, again, other = (list(textures.patches(pictures, seed)) for seed in (0, 0, 1))
    assert [path for path, _ in first] == [path for path, _ in other]
    alike = [np.array_equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True)]
    by_chance = [np.array_equal(a, b) for (_, a), (_, b) in zip(first, other, strict=True)]
    assert all(alike) and sum(by_chance) < 5


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    """Flawless 3 and 1 against flawed 2 and 1: above, above; below, equal: 2.5 of 4. Four flawless above all: 1."""
    rows = [("brick", 1, 3), ("brick", 1, 1), ("brick", 0, 2), ("brick", 0, 1)]
    rows += [("grass", 1, 9)] * 4 + [("grass", 0, 1)] * 4
    found = textures.auroc(pd.DataFrame(rows, columns=["kind", "label", "score"]))
    assert found["brick"][0] == 2.5 / 4 and found["grass"] == (1, 1, 1)
    assert found["mean"][0] == (2.5 / 4 + 1) / 2
    assert found["brick"][1] < 2.5 / 4 < found["brick"][2]


@pytest.mark.usefixtures("few_patches")
def test_peers_rank_by_distance_in_the_components_of_flawless_patches(
    pictures: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whitened components, found here for brick by scikit-learn alone: the nearer to a reference, the more flawless."""
    monkeypatch.setattr(textures, "COMPONENTS", (3, 5))
    made = tmp_path / "made"
    textures.make(made, 0, pictures)
    found = textures.peers(made)

    def pixels(paths: Iterable[Path]) -> np.ndarray:
        return np.stack([np.asarray(Image.open(path), np.float64).ravel() for path in paths])

    flawless = sorted((made / "train.brick.flawless").iterdir())
    whitened = PCA(3, whiten=True, svd_solver="full").fit(pixels(flawless)).transform
    probes = sorted(made.glob("test.brick.*/*.png"))
    apart = cdist(whitened(pixels(probes)), whitened(pixels(flawless[: textures.REFERENCES]))).min(axis=1)
    right = [path.parent.name.endswith(".flawless") for path in probes]
    assert found.loc["PCA 3, whitened, best", "brick"] == pytest.approx(roc_auc_score(right, -apart))
    assert len(found) == 2 * (1 + 2 * 2)
    assert found["mean"].tolist() == pytest.approx(found[list(textures.TEXTURES)].mean(axis=1).tolist())


def test_the_orl_peer_knows_people_that_differ_and_no_others() -> None:
    """Faces that are a person's pattern with a little noise: no error. Noise alone: chance."""
    rng = np.random.default_rng(0)
    patterns = {person: rng.normal(0, 1, 400) for person in range(12)}
    names = [f"s{person}/{image}.png" for person in patterns for image in range(6)]
    alike = {name: patterns[int(owner(name)[1:])] + rng.normal(0, 0.1, 400) for name in names}
    noise = {name: rng.normal(0, 1, 400) for name in names}
    split = pd.Series({f"s{person}": ("train", "validation", "test")[person // 4] for person in patterns})
    tested = orl_peer.all_pairs(name for name in names if split[owner(name)] == "test")
    assert orl_peer.measured(alike, split, tested)[0] < 0.05
    assert orl_peer.measured(noise, split, tested)[0] == pytest.approx(0.5, abs=0.12)


def test_the_document_names_the_columns_that_the_code_reads() -> None:
    text = (ROOT / "docs/protocols.md").read_text()
    blocks = re.findall(r"```csv\n(.*?)\n", text)
    assert blocks == [f"{splits.COLUMN['identities']},split", ",".join(trials.REQUIRED)]
    assert set(re.findall(r"^\| `(\w+)` \| are", text, flags=re.MULTILINE)) == set(trials.OPTIONAL)
