"""What `amulet sweep` leaves behind: files, and the strength in a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amulet_integrations.cli import terminal
from amulet_integrations.cli.options import strength_label
from amulet_integrations.cli.page_files import check_page
from amulet_integrations.cli.profile import group
from amulet_integrations.decoding.strength import Preset
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation.data.methods import points_of
from amulet_integrations.files import may_replace, may_write_into
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.access import read_whole_profile
from amulet_integrations.profiles.stores.description import how_to_make_profile

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Method, Sweep
    from amulet_integrations.evaluation import Preference as EvaluatedPreference
    from amulet_integrations.profiles import SqlProfileStore

_PNG = b"\x89PNG\r\n\x1a\n"


def check_output(page: Path | None, plot: Path | None) -> None:
    """Refuses files that cannot be written.

    Args:
        page: Where the page goes; None for nowhere.
        plot: Where the PNG goes; None for nowhere.

    Raises:
        typer.BadParameter: One cannot be written, or is something else.
        EvaluationError: There is no such folder, or both are one file.
        MissingDependencyError: matplotlib is not installed, and a plot is wanted.
    """
    if page is not None:
        check_page(page)
    if plot is None:
        return
    # Brings numpy.
    from amulet_integrations.evaluation.reporting.plots import check_plots  # noqa: PLC0415

    check_plots()
    if plot.is_dir() or not may_write_into(plot.resolve().parent):
        raise EvaluationError(
            f"--plot {plot}: it cannot be written there. Name a file in a folder that exists."
        )
    if not may_replace(plot, _PNG):
        raise EvaluationError(f"--plot {plot}: it exists and is no PNG; choose another name.")
    if page is not None and plot.resolve() == page.resolve():
        raise EvaluationError(f"--page and --plot both name {plot}. Give each a file of its own.")


def check_saving(user: str, methods: Iterable[Method]) -> None:
    """Refuses `--save` where there is nothing to choose from, or no such user could be.

    Raises:
        EvaluationError: At most one strength beside base and pref is compared.
        InvalidProfileError: The id cannot be that of a user.
    """
    PreferenceProfile(user_id=user)
    if len(points_of(methods)) < 2:  # noqa: PLR2004 - one leaves nothing to choose
        raise EvaluationError(
            "--save keeps the best of several strengths, and there is none to choose from. Give "
            "two or more besides 0 and 1, such as --guidance-scale 1.5,2,4."
        )


def check_profile(
    store: SqlProfileStore, user: str, preferences: Iterable[EvaluatedPreference]
) -> None:
    """Refuses a profile that could not be written once the strength is known.

    Raises:
        ProfileError: The profile cannot be read, or a new one would exceed a limit.
    """
    if read_whole_profile(store, user) is None:
        limits_of(store).check_saved(_new_profile(user, preferences))


def write_files(
    sweep: Sweep, say: Callable[[str], None], page: Path | None, plot: Path | None
) -> None:
    """Writes the page and the plot, as far as they are wanted, and says where they are.

    Raises:
        EvaluationError: One cannot be written.
    """
    if page is not None:
        say(f"The page: {sweep.save_html(page)}")
    if plot is not None:
        say(f"The plot: {sweep.save_plot(plot)}")


def save_strength(sweep: Sweep, store: SqlProfileStore, user: str) -> str:
    """Writes the recommended strength into a profile.

    A user without a profile gets one, with the preferences of the sweep. A strength that breaks
    more answers than `pref` is not saved, as in `amulet evaluate`.

    Returns:
        What was saved, or why nothing was.

    Raises:
        ProfileError: It cannot be stored.
    """
    point, name = sweep.recommended, terminal.quoted_if_odd(user)
    if point is None or not sweep.is_usable:
        why = "none is recommended" if point is None else f"{point.label} breaks more than pref"
        return f"No strength is saved for {name}: {why}."
    whole = read_whole_profile(store, user)
    new = _new_profile(user, sweep.evaluation.preferences)

    def with_strength(before: PreferenceProfile) -> PreferenceProfile:
        update: dict[str, Any] = {}
        if whole is None and not before.preferences:
            update["preferences"] = new.preferences
        elif whole is not None and whole.method is not None:
            update["method"] = "amulet"  # another one, also an inherited one, reads no scale
        return before.model_copy(update=update).with_strength(*point.strength)

    stored = store.update(user, with_strength, by=group.operator())
    held = {preference.text for preference in (stored if whole is None else whole).preferences}
    if not held.issuperset(preference.text for preference in new.preferences):
        terminal.notice(
            f"The profile of {name} does not have the preference that was swept. To add it: "
            f"{how_to_make_profile(store, user, action='add')}"
        )
    return f"Saved {name}: {strength_words(point.strength)}, version {stored.version}."


def strength_words(strength: Preset) -> str:
    """A strength with its bound, in words."""
    return f"guidance scale {strength_label(*strength)}"


def _new_profile(user: str, preferences: Iterable[EvaluatedPreference]) -> PreferenceProfile:
    return PreferenceProfile(user_id=user, preferences=tuple(it.text for it in preferences))
