r"""Train the detectors that ship with deepscan, and put them into the package.

    python jobs/make_zoo.py --media ../shared/media --out runs/zoo --install

Every member is an ordinary run of ``deepscan train`` in ``--out``, with the settings below; one that was
interrupted goes on when the same line is given again, one that has ended stays as it is. ``--only NAME``
makes one member. Their weights are shipped as ONNX, which starts without PyTorch.

How a member does on what it never heard of is measured on one that was trained ``--without`` it:

    python jobs/make_zoo.py --media ../shared/media --out runs/zoo --only voices --without "*HiFiGAN*"
    deepscan evaluate --bundle runs/zoo/without-HiFiGAN/voices/bundle --data ../shared/media/manifest.tsv \
        --where modality=audio --seen leave-out --out runs/zoo/without-HiFiGAN/unseen

and on a collection of genuine files that it never heard of, ``--without "source=celeba*"``.
"""

import argparse
import dataclasses
import json
import logging
import pathlib
import re
import shutil
import sys

from deepscan.bundle import Bundle
from deepscan.cluster import connected
from deepscan.datasets.dataset import Origin
from deepscan.datasets.still_clips import Stills
from deepscan.datasets.still_clips import make as make_stills
from deepscan.ensemble import Ensemble, entry, shipped_path
from deepscan.errors import DeepscanError
from deepscan.fusion import FusionPolicy
from deepscan.optimize.export import export
from deepscan.optimize.sibling import size_bytes
from deepscan.training.run import Order, recall, train
from deepscan.watch import LogWatch, Numbered

FORMAT = "onnx"
POLICY = FusionPolicy(method="maximum")
"""Each member knows one kind of fake, so the most suspicious one answers."""

COLLECTION = "origin"
"""Column of the manifest that tells which collection a file belongs to."""

BLENDS_ALONE = "recipe.calls_real=False"
"""Where no face was blended over another, everything may still have been generated."""

ONE_GENERATOR = "recipe.calls_real=False"
"""It knows the pictures of one generator, and what it does not know it cannot call genuine."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A detector that ships.

    Attributes:
        name: Its name, and that of its folder.
        model: Name of its model.
        where: Which rows of the manifest it learns from.
        stills: It learns from clips that are made of the portraits in those rows.
        settings: What differs from the defaults of the model.
        begins: The member whose weights it takes over; None = from scratch.
        fractions: Shares of the files that train, validate and test.
        max_error_rate: Share of each class that it may call wrong, in every collection. Where two members
            judge one file, their rates add up at worst.
        deliveries: After each of these it is kept, too.
    """

    name: str
    model: str
    where: tuple[str, ...]
    stills: bool = False
    settings: tuple[str, ...] = ()
    begins: "Member | None" = None
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    max_error_rate: float = 0.05
    deliveries: tuple[str, ...] = ("quick",)


FIRST = Member(
    name="blended-faces-first",
    model="boundary",
    where=("modality=image", "label=real"),
    settings=("prep.finder=tiny", "recipe.amp=bf16", "recipe.speed=set"),
    deliveries=(),
)
"""What ``blended-faces`` learns before it sees pictures that are blurred or noisy; it does not ship."""

BLENDED_FACES = Member(
    name="blended-faces",
    model="boundary",
    where=("modality=image", "label=real"),
    settings=(
        "prep.finder=tiny",
        "recipe.epochs=30",
        "recipe.optimizer.lr=0.001",
        "recipe.augment.level=rough",
        "recipe.keep=last",
        "recipe.amp=bf16",
        "recipe.speed=set",
        BLENDS_ALONE,
    ),
    begins=FIRST,
)

TRACES = Member(
    name="generated-first",
    model="residual",
    where=("modality=image",),
    settings=(
        "recipe.epochs=110",
        "recipe.batch_size=32",
        "recipe.ema_decay=0.995",
        "recipe.augment.level=delivery",
        "recipe.pseudo.kind=regenerated",
        "recipe.pseudo.share=0.6",
        'recipe.sampling.mix=["source=celeba*:0.5"]',
        "recipe.amp=bf16",
        "recipe.speed=set",
    ),
    deliveries=(),
)
"""The network in ``generated``: it learns from crops, and from pseudo-fakes, which mislead the regression."""

MEMBERS = (
    BLENDED_FACES,
    Member(
        name="blended-clips",
        model="boundary-clip",
        where=("modality=image", "label=real"),
        stills=True,
        settings=(
            "prep.finder=tiny",
            # What it takes over stays as it is: trained on, it judged worse, of these clips too.
            "recipe.epochs=1",
            "recipe.optimizer.lr=1e-7",
            "recipe.augment.level=rough",
            "recipe.keep=last",
            "recipe.pseudo.kind=none",
            "recipe.amp=bf16",
            "recipe.speed=set",
            BLENDS_ALONE,
        ),
        begins=BLENDED_FACES,
    ),
    Member(
        name="generated",
        model="rich-residual",
        where=TRACES.where,
        settings=(
            # The network stays as it is while the weights beside it are solved for.
            "recipe.epochs=5",
            "recipe.freeze_epochs=4",
            "recipe.stop.patience=1",
            "recipe.optimizer.lr=1e-6",
            "recipe.augment.level=rough",
            # Genuine ones of another size would be told from the fakes by their size, but are to be judged.
            'recipe.sampling.mix=["source=celeba*:0"]',
            ONE_GENERATOR,
        ),
        begins=TRACES,
        max_error_rate=0.02,
    ),
    Member(
        name="voices",
        model="lfcc-lcnn",
        where=("modality=audio",),
        settings=(
            "recipe.epochs=12",
            "recipe.pseudo.kind=copy-synthesis",
            "recipe.pseudo.share=0.5",
            "recipe.sampling.classes=balanced",
        ),
        # There are few fakes: with fewer to validate on, no recording could ever be called genuine.
        fractions=(0.6, 0.25, 0.15),
    ),
)


def make(member: Member, media: pathlib.Path, out: pathlib.Path, seed: int, number: str) -> Bundle:
    """Train a member, unless that was done, and return it in the format that ships.

    Raises:
        DeepscanError: It cannot be trained or written.
    """
    made = out / "zoo" / member.name
    trained = train_member(member, media, out, seed, number)
    if made.exists() and Bundle.read(made).card.parent == trained.card.id:
        return Bundle.read(made)
    shutil.rmtree(made, ignore_errors=True)
    return export(trained.path, FORMAT, made).bundle


def train_member(member: Member, media: pathlib.Path, out: pathlib.Path, seed: int, number: str) -> Bundle:
    """Train a member, and before it those that it takes over weights of, unless that was done.

    Raises:
        DeepscanError: It cannot be trained.
    """
    if done := recall(out / member.name):
        return done.bundle
    begins = train_member(member.begins, media, out, seed, number) if member.begins else None
    rate = (
        f"recipe.max_error_rate={member.max_error_rate}",
        f"recipe.error_rate_by={COLLECTION}",
        f"recipe.error_rate_under={json.dumps(member.deliveries)}",
    )
    order = Order(
        model=member.model,
        origin=_origin(member, media, out, seed),
        out=out / member.name,
        overrides=(*member.settings, *rate, f"recipe.seed={seed}"),
        init=str(begins.path) if begins else "",
        name=member.name,
    )
    return train(dataclasses.replace(order, resume=order.place.begun), Numbered(LogWatch(), number)).bundle


def _origin(member: Member, media: pathlib.Path, out: pathlib.Path, seed: int) -> Origin:
    manifest, store = media / "manifest.tsv", out / "prepared"
    if not member.stills:
        return Origin(path=manifest, where=member.where, store=store, fractions=member.fractions)
    stills = Stills(data=manifest, where=member.where, seed=seed, columns=(COLLECTION,))
    return Origin(path=make_stills(stills, out / "stills"), store=store, fractions=member.fractions)


def without(member: Member, files: str) -> Member:
    """Return a member that never sees files: ``column=values``, or generators that match a pattern."""
    column, _, values = files.rpartition("=")
    begins = without(member.begins, files) if member.begins else None
    return dataclasses.replace(
        member, where=(*member.where, f"{column or 'generator'}!={values}"), begins=begins
    )


def install(bundles: list[Bundle], out: pathlib.Path) -> None:
    """Put bundles into the package, and the ensemble over them."""
    target = shipped_path()
    for bundle in bundles:
        folder = target.with_name(bundle.card.name)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle.path, folder)
    entries = tuple(entry(Bundle.read(target.with_name(b.card.name)), target) for b in bundles)
    Ensemble(entries=entries, policy=POLICY).save(target)


def main() -> int:
    """Read the command line, train, and install."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--media", type=pathlib.Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--only", choices=[member.name for member in MEMBERS], help="make this member alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", metavar="FILES", help="leave out: generators, or COLUMN=VALUES")
    parser.add_argument("--install", action="store_true", help="put the results into the package")
    given = parser.parse_args()
    if given.install and (given.only or given.without):
        parser.error("--install puts all members into the package; leave out --only and --without")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    members = [member for member in MEMBERS if given.only in {None, member.name}]
    media, out = given.media.resolve(), given.out.resolve()
    if given.without:
        members = [without(member, given.without) for member in members]
        out /= "without-" + re.sub(r"[^\w-]+", "", given.without)
    try:
        with connected():
            bundles = [
                make(member, media, out, given.seed, f"{n}/{len(members)}")
                for n, member in enumerate(members, 1)
            ]
        if given.install:
            install(bundles, out)
    except DeepscanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for bundle in bundles:
        sys.stdout.write(f"{bundle.card.id}: {size_bytes(bundle) / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
