-- Run once, when the volume is empty: one database per part, beside selfheal's own (POSTGRES_DB).
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
