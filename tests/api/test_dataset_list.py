"""The list of data sets is what the document says, uploads among the others."""

import jsonschema
from fastapi.testclient import TestClient

from tests.api.test_upload_routes import GOOD_CSV, upload


def test_data_sets_of_every_origin_fit_the_document(http: TestClient) -> None:
    document = http.get("/openapi.json").json()
    dataset_id = upload(http, "a.csv", GOOD_CSV).json()["id"]
    for path, route in (("", ""), (f"/{dataset_id}", "/{kind_or_id}"), ("/builtin", "/{kind_or_id}")):
        answers = document["paths"][f"/v1/datasets{route}"]["get"]["responses"]["200"]["content"]
        schema = {**answers["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(http.get(f"/v1/datasets{path}").json())
