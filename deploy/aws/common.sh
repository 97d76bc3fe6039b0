# What create.sh, deploy.sh and destroy.sh have in common: the site's name, and whether AWS can be asked at all.
# Read by the others, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${CHARRNN_STACK:-charrnn}

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

[[ $name =~ ^[A-Za-z][A-Za-z0-9-]{3,39}$ && $name != *- ]] ||
    fail "CHARRNN_STACK: 4 to 40 letters, digits and hyphens would be right, not '$name'"

need_aws() {
    command -v aws >/dev/null ||
        fail "the command line of AWS is needed: https://docs.aws.amazon.com/cli/ says how to install it"
    export AWS_PAGER=
    region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [ -n "$region" ] || fail "no region is chosen: AWS_REGION=eu-central-1, for example, would be right"
    export AWS_REGION=$region AWS_DEFAULT_REGION=$region
    aws sts get-caller-identity >/dev/null 2>&1 ||
        fail "AWS refuses, or there are no credentials: 'aws sts get-caller-identity' has to work first"
}

stack_exists() {
    aws cloudformation describe-stacks --stack-name "$name" >/dev/null 2>&1
}
