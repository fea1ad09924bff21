variable "prefect_api_url" {
  description = "The Prefect server's API, such as https://prefect.example.org/api."
  type        = string
}

variable "pool_type" {
  description = "On what both pools run. An existing pool cannot change it."
  type        = string
  default     = "kubernetes"

  validation {
    condition     = contains(["process", "docker", "kubernetes"], var.pool_type)
    error_message = "Choose process, docker or kubernetes."
  }
}

variable "cpu_limit" {
  description = "How many runs of the pool cpu may go on at once."
  type        = number
  default     = 4
}

variable "gpu_limit" {
  description = "How many runs of the pool gpu may go on at once: one a GPU, or one a node that trains on all of its GPUs."
  type        = number
  default     = 1
}

variable "global_limits" {
  description = "Global concurrency limits by name, for what no pool limits."
  type        = map(number)
  default     = {}
}

variable "retrain" {
  description = "Whether a change of a dataset starts the deployment retrain/retrain. Not where a trigger in prefect.yaml does: that would be two runs."
  type        = bool
  default     = false
}

variable "retrain_parameters" {
  description = "Its parameters; {{ event.payload.revision }} and the like are filled in from the event."
  type        = any
  default     = {}
}

variable "dataset_resources" {
  description = "Which datasets: a resource, or a pattern such as huggingface.dataset.my-organisation/*."
  type        = string
  default     = "huggingface.dataset.*"
}

variable "quiet_s" {
  description = "Seconds without a further change before a retraining starts."
  type        = number
  default     = 600
}

variable "mark_crashed" {
  description = "Mark runs as crashed that are not heard of; `voxfactory deploy` makes an automation for it, too: one of them is enough."
  type        = bool
  default     = false
}

variable "silence_s" {
  description = "Seconds without a heartbeat after which a run counts as crashed: three times the flows' heartbeat frequency, which is 180 s unless set."
  type        = number
  default     = 540
}

variable "notification_block_id" {
  description = "Notification block, such as Slack or e-mail, that tells; null for none. Its address is a secret and stays in the block."
  type        = string
  default     = null
}
