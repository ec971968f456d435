"""Where the steps read and write unless told otherwise: the paths of dvc.yaml (a test compares)."""

from __future__ import annotations

from pathlib import Path

SAMPLE = Path("data/sample")
CATALOG = Path("artifacts/catalog.parquet")
REJECTED = Path("artifacts/rejected.csv")
PAIRS = Path("artifacts/pairs.parquet")
IMAGES = Path("artifacts/images")
TRANSFORM = Path("artifacts/transform")
MODEL = Path("artifacts/model")
HISTORY = Path("artifacts/history.csv")
THRESHOLD = Path("artifacts/threshold.json")
CALIBRATED = Path("threshold.json")
METRICS = Path("metrics.json")
PLOTS = Path("plots")
REPORT = Path("report.html")
MODEL_REPORT = Path("model-report.html")
CHECKPOINTS = Path(".siamese/checkpoints")
RUN = Path("artifacts/run.json")
TRACKING = Path(".siamese/tracking")
MODELS = Path(".siamese/models")
DOWNLOADS = Path(".siamese/downloads")
CHECKPOINT = Path("training/checkpoint")  # below `files/`, and the artifact's path
