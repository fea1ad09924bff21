# The work pools, limits and automations of a Prefect server that more than one person looks after. On one machine, `voxfactory pools apply`
# and prefect.yaml do the same without Terraform: let one of the two own a pool, never both.
#
#   export PREFECT_BASIC_AUTH_KEY=user:password
#   terraform init && terraform apply -var prefect_api_url=https://prefect.example.org/api

terraform {
  required_version = ">= 1.5"
  required_providers {
    prefect = {
      source  = "prefecthq/prefect"
      version = "~> 2.82"
    }
  }
}

provider "prefect" {
  endpoint = var.prefect_api_url # its password comes from PREFECT_BASIC_AUTH_KEY, never from a file here
}

locals {
  pools = {
    cpu = {
      limit       = var.cpu_limit
      description = "Stages that need no GPU: ingestion, publication, demos, watching."
    }
    gpu = {
      limit       = var.gpu_limit
      description = "Training and evaluation. Its limit is how many runs may share the GPUs."
    }
  }
}

resource "prefect_work_pool" "factory" {
  for_each = local.pools

  name              = each.key
  type              = var.pool_type
  description       = each.value.description
  concurrency_limit = each.value.limit
  # Decoded and encoded again, so that white space is no difference.
  base_job_template = jsonencode(jsondecode(file("${path.module}/../work_pools/${each.key}-${var.pool_type}.json")))
}

resource "prefect_global_concurrency_limit" "limit" {
  for_each = var.global_limits

  name  = each.key
  limit = each.value
}
