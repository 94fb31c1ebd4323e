"""A scoring script as people have it for Azure ML: the model is a folder named `model`."""

import json
import logging
import os

import joblib
import numpy


def init():
    global model
    model_path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model/iris.joblib")
    model = joblib.load(model_path)
    logging.info("Init complete")


def run(raw_data):
    logging.info("Request received")
    data = json.loads(raw_data)["data"]
    result = model.predict(numpy.array(data))
    return result.tolist()
