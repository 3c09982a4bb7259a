"""One file per verb of the pipeline: plain Python over records. A stage knows no Ray, no retry and no commit."""
