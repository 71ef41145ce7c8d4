"""Search: spaces, the Optuna study that knows all trials, and Ray Tune that runs them."""

from reid.search.chosen import ChosenSpace, check_space, find_space
from reid.search.database import open_study, study_address, with_layouts_of
from reid.search.figures import draw_figures
from reid.search.reports import TrialReports, trial_key
from reid.search.spaces import SPACES, Settings, Space, descriptor_dim, searched_phase, start_values
from reid.search.study import Trial, Trials
from reid.search.tuning import require_dashboard, run_trials
from reid.search.view import LiveView

__all__ = [
    "SPACES",
    "ChosenSpace",
    "LiveView",
    "Settings",
    "Space",
    "Trial",
    "TrialReports",
    "Trials",
    "check_space",
    "descriptor_dim",
    "draw_figures",
    "find_space",
    "open_study",
    "require_dashboard",
    "run_trials",
    "searched_phase",
    "start_values",
    "study_address",
    "trial_key",
    "with_layouts_of",
]
