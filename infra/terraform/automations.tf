# A dataset has changed and has then been quiet for a while: retrain once, with the last change.
data "prefect_deployment" "retrain" {
  count = var.retrain ? 1 : 0

  flow_name = "retrain"
  name      = "retrain"
}

resource "prefect_automation" "retrain" {
  count = var.retrain ? 1 : 0

  name        = "voxfactory: retrain"
  description = "A watched dataset changed, and ${var.quiet_s} s went by without another change."
  enabled     = true

  trigger = {
    event = {
      posture   = "Proactive"
      match     = jsonencode({ "prefect.resource.id" = var.dataset_resources })
      after     = ["voxfactory.dataset.updated"]
      expect    = ["voxfactory.dataset.updated"]
      for_each  = ["prefect.resource.id"]
      threshold = 1
      within    = var.quiet_s
    }
  }

  actions = [
    {
      type          = "run-deployment"
      source        = "selected"
      deployment_id = data.prefect_deployment.retrain[0].id
      parameters    = jsonencode(var.retrain_parameters)
      job_variables = jsonencode({})
    },
  ]
}

# A run whose machine died stays Running for ever: nobody is left to say otherwise. No notification hangs on this one, since it also fires,
# without effect, for short runs whose last heartbeat arrives after their end.
resource "prefect_automation" "crashed" {
  count = var.mark_crashed ? 1 : 0

  name        = "voxfactory: runs without heartbeat have crashed"
  description = "A run that was heard once and then not for ${var.silence_s} s is marked as crashed, so that its slot is free and it can be retried."
  enabled     = true

  trigger = {
    event = {
      posture   = "Proactive"
      match     = jsonencode({ "prefect.resource.id" = "prefect.flow-run.*" })
      after     = ["prefect.flow-run.heartbeat"]
      expect    = ["prefect.flow-run.*"]
      for_each  = ["prefect.resource.id"]
      threshold = 1
      within    = var.silence_s
    }
  }

  actions = [
    {
      type    = "change-flow-run-state"
      state   = "CRASHED"
      message = "No heartbeat for ${var.silence_s} s: its process or machine is gone. Retry it; it goes on from its last checkpoint."
    },
  ]
}

locals {
  news = {
    "a run failed" = {
      match  = { "prefect.resource.id" = "prefect.flow-run.*" }
      expect = ["prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"]
    }
    "a model was published or rolled back" = {
      match  = {}
      expect = ["voxfactory.model.published", "voxfactory.space.rolled-back"]
    }
  }
}

resource "prefect_automation" "notify" {
  for_each = var.notification_block_id == null ? {} : local.news

  name        = "voxfactory: tell when ${each.key}"
  description = "Sends a message through the notification block when ${each.key}."
  enabled     = true

  trigger = {
    event = {
      posture   = "Reactive"
      match     = jsonencode(each.value.match)
      expect    = each.value.expect
      for_each  = ["prefect.resource.id"]
      threshold = 1
      within    = 0
    }
  }

  actions = [
    {
      type              = "send-notification"
      block_document_id = var.notification_block_id
      subject           = "VoxFactory: ${each.key}"
      body              = "{{ event.event }}: {{ event.resource.id }} at {{ event.occurred }}"
    },
  ]
}
