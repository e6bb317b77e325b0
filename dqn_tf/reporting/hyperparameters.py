"""What Vertex AI's hyperparameter tuning is told of a trial, by its own library."""

import logging
import os

_log = logging.getLogger(__name__)

METRIC = "eval_return_mean"


class Tuner:
    """Reports to the service of which this run is a trial, if it is one: Vertex AI sets CLOUD_ML_TRIAL_ID there."""

    def __init__(self):
        """Finds out; a library that is missing is a warning."""
        self._service = None
        if not (os.environ.get("CLOUD_ML_TRIAL_ID") or os.environ.get("CLOUD_ML_HP_METRIC_FILE")):
            return
        try:
            import hypertune

            self._service = hypertune.HyperTune()
        except Exception as error:
            _log.warning("this trial's results are not reported: %s; pip install cloudml-hypertune", error)

    def report(self, value: float, env_steps: int) -> None:
        """Reports a mean evaluation return."""
        if self._service is None:
            return
        try:
            self._service.report_hyperparameter_tuning_metric(METRIC, value, env_steps)
        except Exception as error:  # of a library that is not ours: the run goes on
            _log.warning("this trial's results are no longer reported: %s: %s", type(error).__name__, error)
            self._service = None
