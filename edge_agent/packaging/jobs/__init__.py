"""Packaging jobs: the service's StartModelPackagingJob, DescribeModelPackagingJob and ListModelPackagingJobs.

`request` knows what may be asked, `store` keeps the jobs, `worker` gets them done one at a time in processes of their
own, by an `engine`; `api` puts them together, `http` serves it, `aws` asks the service itself instead
(docs/packaging.md).
"""
