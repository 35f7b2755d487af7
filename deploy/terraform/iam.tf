locals {
  # What each binary receives from and publishes to.
  bus_uses = {
    orders_producer   = { receives = [], publishes = ["orders"] }
    payments_producer = { receives = [], publishes = ["payments"] }
    order_consumer    = { receives = ["orders"], publishes = ["dead_letters"] }
    payment_consumer  = { receives = ["payments"], publishes = ["dead_letters"] }
    dlq_handler       = { receives = ["dead_letters"], publishes = ["orders", "payments"] }
    api_service       = { receives = [], publishes = ["requests", "notices"] }
    payment_processor = {
      receives  = ["requests"]
      publishes = ["requests", "notices", "orders", "payments", "dead_letters"]
    }
    notifier = { receives = ["notices"], publishes = ["dead_letters"] }
  }
  binaries_of_the_shop = ["api_service", "payment_processor", "notifier"]

  uses = {
    for binary, use in local.bus_uses : binary => use
    if var.shop || !contains(local.binaries_of_the_shop, binary)
  }

  # ecom_setup creates the tables; topics and subscriptions exist by then, so it only looks them up.
  binaries = concat(keys(local.uses), ["ecom_setup"])

  # A publisher is also a viewer of its topic, to check that it has a subscription; a subscriber is a viewer of its
  # subscription, to report at once that it is missing.
  topic_roles = concat(
    flatten([
      for binary, use in local.uses : [
        for key in use.publishes : [
          for role in ["publisher", "viewer"] : { binary = binary, key = key, role = role }
        ]
      ]
    ]),
    [for key in keys(local.streams) : { binary = "ecom_setup", key = key, role = "viewer" }],
  )
  subscription_roles = concat(
    flatten([
      for binary, use in local.uses : [
        for key in use.receives : [
          for role in ["subscriber", "viewer"] : { binary = binary, key = key, role = role }
        ]
      ]
    ]),
    [for key in keys(local.streams) : { binary = "ecom_setup", key = key, role = "viewer" }],
  )
}

resource "google_service_account" "this" {
  for_each = toset(local.binaries)

  project      = var.project
  account_id   = "ecom-${replace(trimprefix(each.key, "ecom_"), "_", "-")}"
  display_name = each.key
}

resource "google_pubsub_topic_iam_member" "this" {
  for_each = { for it in local.topic_roles : "${it.binary}/${it.key}/${it.role}" => it }

  project = var.project
  topic   = google_pubsub_topic.this[each.value.key].name
  role    = "roles/pubsub.${each.value.role}"
  member  = google_service_account.this[each.value.binary].member
}

resource "google_pubsub_subscription_iam_member" "this" {
  for_each = { for it in local.subscription_roles : "${it.binary}/${it.key}/${it.role}" => it }

  project      = var.project
  subscription = google_pubsub_subscription.this[each.value.key].name
  role         = "roles/pubsub.${each.value.role}"
  member       = google_service_account.this[each.value.binary].member
}

# Lets the Kubernetes service account act as the service account of its binary.
resource "google_service_account_iam_member" "workload_identity" {
  for_each = toset(var.kubernetes_namespace == null ? [] : local.binaries)

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member = format(
    "serviceAccount:%s[%s/%s]",
    coalesce(var.workload_pool, "${var.project}.svc.id.goog"),
    var.kubernetes_namespace,
    lookup(var.kubernetes_service_accounts, each.key, replace(each.key, "_", "-")),
  )
}
