locals {
  day = 24 * 60 * 60

  # Retention of a subscription in days: a message that is not acked within it is lost.
  retention_days = {
    orders       = 7
    payments     = 7
    dead_letters = 31
    requests     = 7
    notices      = 7
  }
  of_the_shop = ["requests", "notices"]

  # Each topic has one subscription; both have the same key.
  streams = {
    for key, days in local.retention_days : key => {
      topic        = var.topics[key]
      subscription = var.subscriptions[key]
      retention    = "${days * local.day}s"
    } if var.shop || !contains(local.of_the_shop, key)
  }
}

resource "google_pubsub_topic" "this" {
  for_each = local.streams

  project = var.project
  name    = each.value.topic

  lifecycle {
    # A subscription whose topic is deleted receives nothing more, even if the topic is created again.
    prevent_destroy = true
  }
}

resource "google_pubsub_subscription" "this" {
  for_each = local.streams

  project                    = var.project
  name                       = each.value.subscription
  topic                      = google_pubsub_topic.this[each.key].name
  ack_deadline_seconds       = 60
  message_retention_duration = each.value.retention

  # Never expires: by default, a subscription without traffic is deleted after 31 days.
  expiration_policy {
    ttl = ""
  }

  lifecycle {
    # Deleting a subscription drops its backlog.
    prevent_destroy = true
  }
}
