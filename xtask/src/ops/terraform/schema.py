"""Checks resources of Google Cloud against the schema of the Terraform provider.

Usage: schema.py FOLDER. Checks the names of arguments and blocks, and that the required ones are there; not their values.
The schema is in the signatures of the package cdktf-cdktf-provider-google, which are read and not run.
"""

import ast
import importlib.util
import pathlib
import sys

import hcl2

# What Terraform itself reads in a resource.
META = {"count", "depends_on", "for_each", "lifecycle", "provider"}
# Each argument of a class, and whether it is required.
Arguments = dict[str, bool]


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def classes(kind: str) -> dict[str, Arguments]:
    """Returns the classes of a resource and of the blocks in it; none if there is no such resource."""
    package = importlib.util.find_spec("cdktf_cdktf_provider_google")
    file = pathlib.Path(package.submodule_search_locations[0], kind, "__init__.py")
    found = {}
    for node in ast.parse(file.read_text()).body if file.is_file() else []:
        for method in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                signature = method.args
                arguments = zip(signature.kwonlyargs, signature.kw_defaults)
                # The name of an argument that Python reserves has an underscore at its end.
                found[node.name] = {name.arg.rstrip("_"): default is None for name, default in arguments}
    return found


def check(schema: dict[str, Arguments], of: str, block: dict, path: str) -> list[str]:
    """Returns the faults of a resource, or of a block in it."""
    known = schema[of]
    # Keys with two underscores at the beginning are notes of the parser.
    given = {key.strip('"'): value for key, value in block.items() if not key.startswith("__")}
    faults = [f"{path}: {name} is missing" for name in sorted(known) if known[name] and name not in given]
    for name, value in given.items():
        if name in META:
            continue
        if name not in known:
            faults.append(f"{path}: there is no {name}")
        elif of + camel(name) in schema:
            for item in value if isinstance(value, list) else [value]:
                faults += check(schema, of + camel(name), item, f"{path}.{name}")
    return faults


def main() -> int:
    faults, count = [], 0
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*.tf")):
        for resource in hcl2.loads(file.read_text()).get("resource", []):
            for quoted, blocks in resource.items():
                kind = quoted.strip('"').removeprefix("google_")
                schema = classes(kind)
                for name, block in blocks.items():
                    count += 1
                    path = f"{file}: google_{kind}.{name.strip(chr(34))}"
                    if camel(kind) in schema:
                        faults += check(schema, camel(kind), block, path)
                    else:
                        faults.append(f"{path}: there is no such resource")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{count} resources, {len(faults)} faults", file=sys.stderr)
    return int(bool(faults) or count == 0)


sys.exit(main())
