"""Checks rendered manifests: manifests.py README.md RENDERED.yaml...

Each document is valid by the strict schema of its kind, each pod has what every pod must have, and each name that a
document refers to exists: in the same file, or, for Secrets, in the table of the README.
"""

import pathlib
import re
import sys

import cloudcoil.models.keda.v1alpha1 as keda
import cloudcoil.models.prometheus_operator.v1 as prometheus_operator
import kubernetes_validate
import yaml

KUBERNETES = "1.36"
CUSTOM = {"keda.sh/v1alpha1": keda, "monitoring.coreos.com/v1": prometheus_operator}
# Jobs end by themselves; they are not probed.
PROBED = {"Deployment"}


def schema_faults(document):
    """Returns what the schema of the kind refuses, unknown fields included."""
    try:
        models = CUSTOM.get(document["apiVersion"])
        if models:
            getattr(models, document["kind"]).model_validate(document, extra="forbid")
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except Exception as error:  # Each of the libraries has its own errors.
        where = "/".join(map(str, getattr(error, "absolute_path", ())))
        return [f"{where} {getattr(error, 'message', error)}".strip()]
    return []


def pod_spec(document):
    """Returns the pod template of a workload; None of other kinds."""
    return document["spec"]["template"] if document["kind"] in ("Deployment", "Job") else None


def pod_faults(document):
    """Returns what the pods of a workload lack."""
    spec = pod_spec(document)["spec"]
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts the token of its service account"
    if document["kind"] == "Deployment" and spec.get("terminationGracePeriodSeconds") != 30:
        yield "has no terminationGracePeriodSeconds of 30"
    pod = spec.get("securityContext", {})
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccompProfile RuntimeDefault"
    for container in spec.get("initContainers", []) + spec["containers"]:
        security, name = container.get("securityContext", {}), container["name"]
        user = security.get("runAsUser", pod.get("runAsUser"))
        if not isinstance(user, int) or user == 0:
            yield f"{name}: runs as no numeric user"
        if security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"{name}: may run as root"
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: may write to its root file system"
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: may gain privileges"
        if security.get("capabilities", {}).get("drop") != ["ALL"] or security["capabilities"].get("add"):
            yield f"{name}: has capabilities"
        resources = container.get("resources", {})
        missing = [it for it in ("cpu", "memory") if it not in resources.get("requests", {})]
        missing += ["memory limit"] if "memory" not in resources.get("limits", {}) else []
        if missing:
            yield f"{name}: has no resources: {', '.join(missing)}"
        ports = {port["name"] for port in container.get("ports", [])}
        paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        for probe, path in paths.items() if document["kind"] in PROBED else ():
            request = container.get(probe, {}).get("httpGet", {})
            if request.get("path") != path or request.get("port") not in ports:
                yield f"{name}: {probe} does not ask {path} of a named port"


def references(spec):
    """Yields the kind and name, and for Secrets the keys, of what a pod refers to."""
    yield "ServiceAccount", spec.get("serviceAccountName", "default"), ()
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], ()
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], ()
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], ()
    for container in spec.get("initContainers", []) + spec["containers"]:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                yield "Secret", source["secretKeyRef"]["name"], (source["secretKeyRef"]["key"],)
            if "configMapKeyRef" in source:
                yield "ConfigMap", source["configMapKeyRef"]["name"], ()


def is_selected(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", selector).items())


def selection_faults(documents):
    """Yields what selects no pod or the wrong ones, and pods that lack what selects them."""
    pods = {d["metadata"]["name"]: pod_spec(d) for d in documents if pod_spec(d)}
    deployments = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}

    def selected(selector):
        return [name for name, pod in pods.items() if is_selected(selector, pod["metadata"]["labels"])]

    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind in ("PodDisruptionBudget", "Service") and selected(spec["selector"]) != [name]:
            yield f"{kind} {name}: does not select the pods of {name} alone"
        if kind == "Service":
            names = {port["name"] for port in pods[name]["spec"]["containers"][0]["ports"]}
            unknown = [port["targetPort"] for port in spec["ports"] if port["targetPort"] not in names]
            if unknown:
                yield f"Service {name}: the container has no port {unknown[0]}"
        if kind == "NetworkPolicy" and not selected(spec["podSelector"]):
            yield f"NetworkPolicy {name}: selects nothing"
        if kind == "PodMonitor":
            for deployment in deployments.values():
                pod = pod_spec(deployment)
                ports = {port["name"] for it in pod["spec"]["containers"] for port in it["ports"]}
                wanted = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
                if not is_selected(spec["selector"], pod["metadata"]["labels"]) or not wanted <= ports:
                    yield f"PodMonitor {name}: does not scrape {deployment['metadata']['name']}"
        if kind == "ScaledObject":
            target = deployments.get(spec["scaleTargetRef"]["name"])
            if not target or "replicas" in target["spec"]:
                yield f"ScaledObject {name}: its target is missing, or sets replicas itself"
    budgets = {d["metadata"]["name"] for d in documents if d["kind"] == "PodDisruptionBudget"}
    yield from (f"Deployment {name}: has no PodDisruptionBudget" for name in deployments if name not in budgets)
    yield from network_faults(documents, pods)


def network_faults(documents, pods):
    """Yields pods that a policy does not isolate, or that cannot reach what every pod needs."""
    policies = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy"]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in policies:
        yield "no NetworkPolicy denies everything by default"
    for name, pod in pods.items():
        own = [it for it in policies if is_selected(it["podSelector"], pod["metadata"]["labels"])]
        kinds = {kind for policy in own for kind in policy["policyTypes"]}
        rules = [rule for policy in own for rule in policy.get("egress", [])]
        ports = {port["port"] for rule in rules for port in rule["ports"]}
        if kinds != {"Ingress", "Egress"} or not {53, 443, 9042, 80, 988} <= ports:
            yield f"{name}: network policies do not isolate it, or keep it from DNS, Cassandra or Google"
        if any("from" not in rule for policy in own for rule in policy.get("ingress", [])):
            yield f"{name}: everybody may connect to it"


def identity_faults(documents):
    """Yields service accounts that are not bound to the Google service account of their binary, where any is bound."""
    accounts = {d["metadata"]["name"]: d["metadata"].get("annotations", {}) for d in documents if d["kind"] == "ServiceAccount"}
    bound = {name: it.get("iam.gke.io/gcp-service-account", "") for name, it in accounts.items()}
    for name, email in bound.items() if any(bound.values()) else ():
        if email.split("@")[0] != f"ecom-{name.removeprefix('ecom-')}":
            yield f"ServiceAccount {name}: bound to {email or 'nothing'}"


def check(path, secrets):
    """Returns the faults of a file."""
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    faults = [f"{kind} {name}: twice" for kind, name in {it for it in names if names.count(it) > 1}]
    spaces = {d["metadata"].get("namespace") for d in documents if d["kind"] not in ("Namespace", "PersistentVolume")}
    if len(spaces) != 1:
        faults.append(f"more than one namespace: {spaces}")
    for document, (kind, name) in zip(documents, names):
        found = schema_faults(document)
        if pod_spec(document):
            found += pod_faults(document)
            for of, referred, keys in references(pod_spec(document)["spec"]):
                exists = referred in secrets if of == "Secret" else (of, referred) in names
                if not exists or any(key not in secrets[referred] for key in keys):
                    found.append(f"{of} {referred} {' '.join(keys)} does not exist")
        if kind == "Secret":
            found.append("Secrets are not kept here")
        faults += [f"{kind} {name}: {fault}" for fault in found]
    return faults + [*selection_faults(documents), *identity_faults(documents)], len(documents)


def main():
    readme, *files = map(pathlib.Path, sys.argv[1:])
    # Lines such as: | `name` | `key`, `key` | …
    rows = re.findall(r"^\| `([a-z-]+)` \| (`[^|]+`) \|", readme.read_text(), re.MULTILINE)
    secrets = {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows}
    failed = False
    for file in files:
        faults, count = check(file, secrets)
        failed |= bool(faults) or count == 0
        print(f"{file.stem}: {count} documents, {len(faults)} faults")
        for fault in faults:
            print(f"  {fault}")
    sys.exit(failed)


main()
