#!/usr/bin/env python3
"""Strict JSON schemas for kubeconform, one file a kind: {kind}-{first word of the group}-{version}.json.

Usage: tests/chart/schemas.py FOLDER SWAGGER [DEFINITION...]

SWAGGER is the OpenAPI document of a minor of Kubernetes (api/openapi-spec/swagger.json), each DEFINITION a YAML file with
a CustomResourceDefinition. Needs PyYAML. Expressions in definitions (x-kubernetes-validations) are left out.

Examples:
  tests/chart/schemas.py made swagger.json crds/*.yaml
"""

import json
import pathlib
import sys

import yaml

DRAFT = "http://json-schema.org/draft-04/schema#"
KINDS = "x-kubernetes-group-version-kind"
OPEN = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# Said for readers, and for the API server alone.
LEFT_OUT = ("description", "default", "example")
# What stands in these is about parts of an object, so fields that it does not name are allowed there.
PARTIAL = ("allOf", "anyOf", "oneOf", "not")


def strict(schema, partial=False):
    """The schema without what only readers need, where a field that is not named is an error."""
    made = {key: value for key, value in schema.items() if key not in LEFT_OUT and not key.startswith("x-kubernetes-")}
    if schema.get("format") == "int-or-string" or schema.get(INT_OR_STRING):
        for key in ("type", "format", "anyOf"):
            made.pop(key, None)
        made["oneOf"] = [{"type": "integer"}, {"type": "string"}]
        return made
    for key in PARTIAL:
        if key in made:
            made[key] = strict(made[key], True) if key == "not" else [strict(it, True) for it in made[key]]
    if "properties" in made:
        made["properties"] = {name: strict(it, partial) for name, it in made["properties"].items()}
        if not partial and not schema.get(OPEN):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key], partial)
    if schema.get("nullable"):
        del made["nullable"]
        made = {"anyOf": [{"type": "null"}, made]}
    return made


def references(schema):
    """The names of the definitions that a schema refers to."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix("#/definitions/")
        schema = schema.values()
    if not isinstance(schema, (str, int, float, bool, type(None))):
        for it in schema:
            yield from references(it)


def write(folder, group, version, kind, schema, definitions):
    """One file with all that it refers to. A name that is taken is an error: the first word of two groups is the same."""
    schema = schema | {"$schema": DRAFT, "properties": dict(schema["properties"])}
    schema["properties"]["apiVersion"] = {"enum": ["/".join(filter(None, (group, version)))]}
    schema["properties"]["kind"] = {"enum": [kind]}
    schema["required"] = sorted({*schema.get("required", ()), "apiVersion", "kind"})
    needed, found = {}, list(references(schema))
    while found:
        name = found.pop()
        if name not in needed:
            needed[name] = definitions[name]
            found += references(needed[name])
    schema["definitions"] = needed
    name = "-".join(filter(None, (kind, group.split(".")[0], version))).lower()
    with open(folder / f"{name}.json", "x") as file:
        json.dump(schema, file)


def main():
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        raise SystemExit(__doc__)
    folder, swagger, *files = map(pathlib.Path, sys.argv[1:])
    folder.mkdir(parents=True)
    given = json.loads(swagger.read_text())["definitions"]
    definitions = {name: strict(schema) for name, schema in given.items()}
    # The document calls a quantity a string; a number is taken too.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    for name, schema in given.items():
        # Those of several groups are no objects that are stored.
        if len(schema.get(KINDS, ())) == 1 and "properties" in schema:
            of = schema[KINDS][0]
            write(folder, of["group"], of["version"], of["kind"], definitions[name], definitions)
    for file in files:
        for crd in filter(None, yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            assert crd["kind"] == "CustomResourceDefinition", file
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"$ref": f"#/definitions/{METADATA}"}
                write(folder, spec["group"], version["name"], spec["names"]["kind"], schema, definitions)


main()
