"""Makes what the tracking server needs and lacks: its two databases and its bucket. Run again, it changes nothing."""

from __future__ import annotations

import os
from configparser import ConfigParser
from urllib.parse import urlsplit

import boto3
import psycopg2
from botocore.exceptions import ClientError
from psycopg2 import sql


def main() -> None:
    users = ConfigParser()
    users.read(os.environ["MLFLOW_AUTH_CONFIG_PATH"])
    for uri in (os.environ["MLFLOW_BACKEND_STORE_URI"], users["mlflow"]["database_uri"]):
        make_database(urlsplit(uri).path.lstrip("/"))
    make_bucket(urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc)


def make_database(name: str) -> None:
    connection = psycopg2.connect(dbname="postgres")
    connection.autocommit = True  # PostgreSQL makes no database inside a transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            print(f"made database {name}")
    connection.close()


def make_bucket(name: str) -> None:
    client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        client.create_bucket(Bucket=name)
        print(f"made bucket {name}")


if __name__ == "__main__":
    main()
