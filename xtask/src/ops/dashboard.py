"""Prints the Grafana dashboard deploy/grafana/ecom.json, which `cargo xtask ops dashboard` compares with it."""

import itertools

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
# How stackdriver_exporter and Managed Service for Prometheus name the metrics of Pub/Sub's subscriptions.
EXPORTER = "stackdriver_pubsub_subscription_pubsub_googleapis_com_subscription_"
MANAGED = "pubsub_googleapis_com:subscription_"

# Label matchers.
OK, FAILED = 'outcome="ok"', 'outcome!="ok"'
WAITING, PARKED = 'state="waiting"', 'state="parked"'
NO_PRODUCER = 'role!~".*_producer"'
NOT_NACKED = 'disposition!="nacked"'
SERVED, ERROR = 'operation!="none"', 'operation!="none",status="5xx"'


def of_role(metric, *matchers):
    """A metric that has a role."""
    return metric + "{" + ",".join(['job=~"$job"', 'role=~"$role"', *matchers]) + "}"


def of_job(metric, *matchers):
    """A metric that describes the store, or that one role alone exports."""
    return metric + "{" + ",".join(['job=~"$job"', *matchers]) + "}"


def legend_of(by):
    return " ".join("{{%s}}" % label for label in by.split(", "))


def rate(by, series):
    """The increase of counters per second, by labels."""
    return [(f"sum by ({by}) (rate({series}[$__rate_interval]))", legend_of(by))]


def quantiles(by, buckets):
    """The p50 and p99 of a histogram, by labels."""
    summed = f"sum by ({by}, le) (rate({buckets}[$__rate_interval]))"
    return [
        (f"histogram_quantile({share}, {summed})", f"{legend_of(by)} {name}")
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    ]


def highest(by, series):
    """A gauge of which several processes export the same value."""
    return [(f"max by ({by}) ({series})", legend_of(by))]


def of_subscriptions(metric):
    """A metric of Pub/Sub's subscriptions, whose samples may be minutes apart."""
    managed = f'{MANAGED}{metric}{{monitored_resource="pubsub_subscription"}}'
    either = f"last_over_time({EXPORTER}{metric}[10m]) or last_over_time({managed}[10m])"
    return highest("subscription_id", either)


def with_queries(panel, queries):
    for index, (expression, legend) in enumerate(queries):
        query = Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEF"[index]).datasource(SOURCE)
        panel = panel.with_target(query)
    return panel.datasource(SOURCE)


def graph(title, unit, queries, description=""):
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.RIGHT)
    panel = timeseries.Panel().title(title).description(description).unit(unit).min(0).span(12).height(8)
    panel = panel.legend(legend.show_legend(True).calcs(["lastNotNull", "max"])).line_width(1).fill_opacity(5)
    panel = panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    return with_queries(panel, queries)


def number(title, unit, expression, red, description):
    """A number that turns red at a threshold."""
    steps = [Threshold(color="green", value=None), Threshold(color="red", value=red)]
    panel = stat.Panel().title(title).description(description).unit(unit).span(4).height(4)
    panel = panel.graph_mode(BigValueGraphMode.AREA)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return with_queries(panel, [(expression, "")])


def versions():
    query = Dataquery().expr(f"count by (job, version, commit) ({of_job('ecom_build_info')})").ref_id("A")
    query = query.datasource(SOURCE).instant().format(PromQueryFormat.TABLE)
    columns = {"excludeByName": {"Time": True}, "renameByName": {"Value": "processes"}}
    panel = table.Panel().title("Processes by version").span(12).height(8).datasource(SOURCE).with_target(query)
    return panel.with_transformation(DataTransformerConfig(id_val="organize", options=columns))


def failed_calls():
    counts = of_role("ecom_store_seconds_count", FAILED), of_role("ecom_publish_seconds_count", FAILED)
    return "sum(" + " or ".join(f"rate({count}[$__rate_interval])" for count in counts) + ")"


def share(part, whole, by):
    return f"sum by ({by}) (rate({part}[$__rate_interval])) / sum by ({by}) (rate({whole}[$__rate_interval]))"


ROWS = {
    "Overview": [
        number(
            "Targets down",
            "short",
            f"count({of_job('up')} == 0) or vector(0)",
            1,
            "Processes that do not answer scrapes.",
        ),
        number(
            "Last heartbeat",
            "s",
            f"max({of_job('ecom_heartbeat_age_seconds', NO_PRODUCER)})",
            180,
            "Of the role that has been silent for longest; producers end by themselves and do not count.",
        ),
        number(
            "Failed calls per second",
            "short",
            failed_calls(),
            0.01,
            "Calls of the store and publishes. During an outage they are retried in place.",
        ),
        number(
            "Dead letters waiting",
            "short",
            f"sum(max by (job, reason) ({of_job('ecom_dead_letters', WAITING)}))",
            101,
            "Payments whose orders are not recorded yet.",
        ),
        number(
            "Oldest waiting dead letter",
            "s",
            f"max({of_job('ecom_dead_letter_oldest_waiting_age_seconds')})",
            900,
            "Time since its first failure.",
        ),
        number(
            "Dead letters parked",
            "short",
            f"sum(max by (job, reason) ({of_job('ecom_dead_letters', PARKED)}))",
            1,
            "They need a person.",
        ),
    ],
    "Throughput": [
        graph("Messages received", "cps", rate("role", of_role("ecom_messages_received_total"))),
        graph(
            "Messages processed",
            "cps",
            rate("role, disposition", of_role("ecom_message_seconds_count")),
            "By what became of the delivery.",
        ),
        graph("Messages published", "cps", rate("role, topic", of_role("ecom_publish_seconds_count", OK))),
        graph(
            "Redelivered, early and undated messages",
            "cps",
            [
                (expression, f"{legend} {what}")
                for what, metric in (
                    ("redelivered", "ecom_messages_redelivered_total"),
                    ("early", "ecom_messages_buffered_total"),
                    ("undated", "ecom_event_times_unusable_total"),
                )
                for expression, legend in rate("role", of_role(metric))
            ],
            "Early payments wait in the early-payment buffer. Undated messages have no usable event time, so their "
            "publish time stands for it. Redeliveries are known only where the bus counts delivery attempts.",
        ),
    ],
    "Latency and backlog": [
        graph(
            "From delivery to ack",
            "s",
            quantiles("role", of_role("ecom_message_seconds_bucket", NOT_NACKED)),
            "End to end within the pipeline: waits for an order, retries and the write included. Before its delivery a "
            "message is part of the backlog.",
        ),
        graph(
            "Age of the oldest unacked message",
            "s",
            of_subscriptions("oldest_unacked_message_age"),
            "From Cloud Monitoring; empty without its exporter.",
        ),
        graph(
            "In flight",
            "short",
            [
                (f"sum by (role) ({of_role('ecom_in_flight')})", "{{role}}"),
                (f"sum by (role) ({of_role('ecom_in_flight_limit')})", "{{role}} limit"),
            ],
            "The limit of payment_consumer includes its early-payment buffer.",
        ),
        graph(
            "Backlog",
            "short",
            of_subscriptions("num_undelivered_messages"),
            "Unacked messages, from Cloud Monitoring; empty without its exporter.",
        ),
    ],
    "Dead letters": [
        graph(
            "Dead letters published",
            "cps",
            rate("role, reason", of_role("ecom_dead_letters_published_total")),
        ),
        graph(
            "Share of messages dead-lettered",
            "percentunit",
            [
                (
                    share(
                        of_role("ecom_message_seconds_count", 'disposition="dead_lettered"'),
                        of_role("ecom_message_seconds_count", NOT_NACKED),
                        "role",
                    ),
                    "{{role}}",
                )
            ],
        ),
        graph("In the dead-letter store", "short", highest("state, reason", of_job("ecom_dead_letters"))),
        graph(
            "Age of the oldest waiting dead letter",
            "s",
            highest("job", of_job("ecom_dead_letter_oldest_waiting_age_seconds")),
        ),
        graph(
            "Dead letters recovered and parked",
            "cps",
            rate("resolution", of_job("ecom_dead_letters_resolved_total")),
            "By the handler; what operators resolve is not counted.",
        ),
        graph(
            "Age when recovered or parked",
            "s",
            quantiles("resolution", of_job("ecom_dead_letter_age_seconds_bucket")),
            "Time since the first failure.",
        ),
    ],
    "Store and bus": [
        graph("Calls of the store", "s", quantiles("role, operation", of_role("ecom_store_seconds_bucket"))),
        graph(
            "Failed calls of the store",
            "cps",
            rate("role, operation, outcome", of_role("ecom_store_seconds_count", FAILED)),
            "unavailable: an outage, retried in place. refused: a permanent error.",
        ),
        graph("Publishes", "s", quantiles("role, topic", of_role("ecom_publish_seconds_bucket"))),
        graph(
            "Failed publishes",
            "cps",
            rate("role, topic, outcome", of_role("ecom_publish_seconds_count", FAILED)),
            "unavailable: an outage, retried in place. refused: a permanent error.",
        ),
    ],
    "Roles": [
        graph(
            "Time since the last heartbeat",
            "s",
            highest("job, role", of_job("ecom_heartbeat_age_seconds", 'role=~"$role"')),
            "Of any process of the role, as dlq_handler reads it from the store.",
        ),
        versions(),
    ],
    "Shop": [
        graph(
            "Requests of the API",
            "reqps",
            rate("operation, status", of_job("ecom_http_request_seconds_count", SERVED)),
        ),
        graph(
            "Time to answer",
            "s",
            quantiles("operation", of_job("ecom_http_request_seconds_bucket", SERVED)),
        ),
        graph(
            "Share of requests answered 5xx",
            "percentunit",
            [
                (
                    share(
                        of_job("ecom_http_request_seconds_count", ERROR),
                        of_job("ecom_http_request_seconds_count", SERVED),
                        "job",
                    ),
                    "{{job}}",
                )
            ],
        ),
        graph(
            "Confirmations sent",
            "cps",
            rate("outcome", of_job("ecom_send_seconds_count")),
            "unavailable: sent again until the receiver takes it. refused: undeliverable.",
        ),
    ],
}


def dashboard():
    built = Dashboard("ecom").uid("ecom").tags(["ecom"]).description("Orders and payments: the pipeline and the shop.")
    built = built.time("now-3h", "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    built = built.with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name, values in (
        ("job", "label_values(ecom_build_info, job)"),
        ("role", "label_values(" + of_job("ecom_messages_received_total") + ", role)"),
    ):
        variable = QueryVariable(name).label(name.capitalize()).query(values).datasource(SOURCE)
        variable = variable.multi(True).include_all(True).all_value(".*").sort(VariableSort.ALPHABETICAL_ASC)
        built = built.with_variable(variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED))
    ids = itertools.count(1)
    for title, panels in ROWS.items():
        built = built.with_row(Row(title).id(next(ids)))
        for panel in panels:
            built = built.with_panel(panel.id(next(ids)))
    return built.build()


print(JSONEncoder(sort_keys=True, indent=2).encode(dashboard()))
