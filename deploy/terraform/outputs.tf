output "service_accounts" {
  description = "E-mail address of each binary's service account."
  value       = { for binary in local.binaries : binary => google_service_account.this[binary].email }
}
