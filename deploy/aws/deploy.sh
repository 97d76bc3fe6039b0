#!/usr/bin/env bash
# Brings the last commit to the site: deploy/aws/deploy.sh [Parameter=Value …]
# Changes a parameter of template.yaml as well where one is given; all others stay as they are.
# deploy.sh --bundle FILE only makes what would be sent. RDS_CA names a file with the authorities of RDS, which are
# fetched from Amazon if nothing is said.
set -euo pipefail
. "$(dirname "$0")/common.sh"

authorities=https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

make_bundle() { # of the last commit, and what Elastic Beanstalk wants to find beside it
    cd "$here/../.."
    [ -n "$(git ls-tree --name-only HEAD Dockerfile)" ] || fail "the last commit has no Dockerfile"
    [ -z "$(git status --porcelain --untracked-files=no)" ] || echo "deploy.sh: changes without a commit stay here" >&2
    if [ -n "${RDS_CA:-}" ]; then
        cp "$RDS_CA" "$scratch/rds-ca.pem"
    else
        curl --fail --silent --show-error --location --output "$scratch/rds-ca.pem" "$authorities"
    fi
    grep -q 'BEGIN CERTIFICATE' "$scratch/rds-ca.pem" || fail "what should certify RDS is no certificate"
    sed -e '/# deploy.sh puts/{r deploy/nginx/proxy.conf' -e 'd}' deploy/aws/app/charrnn-location.conf \
        >"$scratch/charrnn-location.conf"
    git archive --format=zip --output="$1" \
        --add-file="$scratch/rds-ca.pem" \
        --add-file=deploy/aws/app/Dockerrun.aws.json \
        --prefix=.platform/nginx/conf.d/ --add-file=deploy/aws/app/charrnn-map.conf \
        --prefix=.platform/nginx/conf.d/elasticbeanstalk/ --add-file="$scratch/charrnn-location.conf" \
        --prefix=.platform/hooks/prebuild/ --add-file=deploy/aws/app/hooks/prebuild/10_rds_authorities.sh \
        --prefix=.platform/hooks/postdeploy/ --add-file=deploy/aws/app/hooks/postdeploy/10_upgrade_database.sh \
        --prefix= HEAD
}

if [ "${1:-}" = --bundle ]; then
    [ $# = 2 ] || fail "--bundle needs the name of a file"
    make_bundle "$(realpath "$2")"
    exit
fi

need_aws
[[ " $*" == *" SolutionStack="* ]] || stack_exists || fail "there is no site '$name' in $region: create.sh makes one"
make_bundle "$scratch/bundle.zip"
bucket=$(aws elasticbeanstalk create-storage-location --query S3Bucket --output text)
key=$name/$(git rev-parse --short HEAD)-$(date -u +%Y%m%d%H%M%S).zip
aws s3 cp --only-show-errors "$scratch/bundle.zip" "s3://$bucket/$key"
aws cloudformation deploy --stack-name "$name" --template-file "$here/template.yaml" --capabilities CAPABILITY_IAM \
    --parameter-overrides "BundleBucket=$bucket" "BundleKey=$key" "$@"
aws cloudformation describe-stacks --stack-name "$name" --output text \
    --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]'
