#!/usr/bin/env bash
# Makes a new site: deploy/aws/create.sh [Certificate=arn:aws:acm:…] [Parameter=Value …]
# Parameters are those of template.yaml. CHARRNN_STACK names the site, "charrnn" if nothing is said.
set -euo pipefail
. "$(dirname "$0")/common.sh"

need_aws
! stack_exists || fail "there is a site '$name' in $region: deploy.sh updates it, CHARRNN_STACK names another"

platform=$(aws elasticbeanstalk list-available-solution-stacks --output text \
    --query 'SolutionStacks[?starts_with(@, `64bit Amazon Linux 2023 `) && ends_with(@, ` running Docker`)].[@]' |
    sort --version-sort | tail -n 1)
[ -n "$platform" ] || fail "Elastic Beanstalk has no Docker platform on Amazon Linux 2023 in $region"

echo "Making '$name' in $region on '$platform': about half an hour, most of it for the database and the containers."
exec "$here/deploy.sh" "SolutionStack=$platform" "$@"
