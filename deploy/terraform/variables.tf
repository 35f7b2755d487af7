variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "shop" {
  description = "Whether to create what api_service, payment_processor and notifier need, too."
  type        = bool
  default     = true
}

variable "topics" {
  description = "Short names of the topics: bus.topics and shop.topics of the configuration."
  type = object({
    orders       = optional(string, "orders_data")
    payments     = optional(string, "payments_data")
    dead_letters = optional(string, "dlq_payments_data")
    requests     = optional(string, "requests_data")
    notices      = optional(string, "notices_data")
  })
  default = {}
}

variable "subscriptions" {
  description = "Short names of the subscriptions: bus.subscriptions and shop.subscriptions of the configuration."
  type = object({
    orders       = optional(string, "orders_data-sub")
    payments     = optional(string, "payments_data-sub")
    dead_letters = optional(string, "dlq_payments_data-sub")
    requests     = optional(string, "requests_data-sub")
    notices      = optional(string, "notices_data-sub")
  })
  default = {}
}

variable "kubernetes_namespace" {
  description = "Kubernetes namespace of the service accounts that workload identity binds; null binds none."
  type        = string
  default     = null
}

variable "kubernetes_service_accounts" {
  description = "Names of Kubernetes service accounts by binary; by default, payment_consumer runs as payment-consumer."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for binary in keys(var.kubernetes_service_accounts) : contains([
        "orders_producer", "payments_producer", "order_consumer", "payment_consumer", "dlq_handler",
        "ecom_setup", "api_service", "payment_processor", "notifier",
      ], binary)
    ])
    error_message = "Each key must be the name of a binary, such as payment_consumer."
  }
}

variable "workload_pool" {
  description = "Workload identity pool of the cluster; null means that of the project, PROJECT.svc.id.goog."
  type        = string
  default     = null
}
