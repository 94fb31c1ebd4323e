"""Scores iris flowers, in the form that Azure ML's inference server calls.

A model file lies directly in AZUREML_MODEL_DIR, a model folder is a sub-folder of it: both are found.
"""

import json
import logging
import os
from pathlib import Path

import joblib

model = None


def init():
    """Loads the model, once for each worker."""
    global model
    directory = Path(os.environ["AZUREML_MODEL_DIR"])
    path = next(directory.rglob("*.joblib"), None)
    if path is None:
        raise FileNotFoundError(f"no *.joblib below {directory}")
    model = joblib.load(path)
    logging.info("loaded %s", path)


def run(raw_data):
    """{"data": [[sepal length, sepal width, petal length, petal width], ...]} -> the kind of each flower."""
    data = json.loads(raw_data)["data"]
    return model.predict(data).tolist()
