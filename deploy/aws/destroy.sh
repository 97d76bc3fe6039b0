#!/usr/bin/env bash
# Ends a site: deploy/aws/destroy.sh. What people have made is kept, and it says where.
set -euo pipefail
. "$(dirname "$0")/common.sh"

need_aws
stack_exists || fail "there is no site '$name' in $region"
bucket=$(aws cloudformation describe-stacks --stack-name "$name" --output text \
    --query 'Stacks[0].Outputs[?OutputKey==`BucketName`].OutputValue')
[ "$bucket" != None ] || bucket="(none was made)" # None: how the command line writes nothing
cat <<END
This ends '$name' in $region: its machines, load balancer, network and secrets.
Kept, and paid for until you delete them: the bucket '$bucket' with all texts and models, and a last
snapshot of the database. Visitors are strangers afterwards, since the secret behind their cookies is gone.
END
read -r -p "Type '$name' to go on: " answer || true
[ "${answer:-}" = "$name" ] || fail "nothing was changed"

aws cloudformation delete-stack --stack-name "$name"
aws cloudformation wait stack-delete-complete --stack-name "$name"
programs=$(aws elasticbeanstalk create-storage-location --query S3Bucket --output text)
aws s3 rm --recursive --only-show-errors "s3://$programs/$name/"
echo "Done. 's3://$bucket' and the snapshot are left."
