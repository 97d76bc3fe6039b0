"""What is shipped for AWS: the template, the machines' rights, the bundle and the commands.

Amazon itself is never asked. moto's server makes of the template what moto knows; what it does not know is named in
`UNKNOWN_TO_MOTO`, and of that only the template is looked at.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from charrnn.config import Settings, variable
from charrnn.errors import StorageUnavailable
from charrnn.storage import Storage, model_key
from tests.deploy import nginx
from tests.s3 import S3, started

AWS = nginx.ROOT / "deploy" / "aws"
TEMPLATE = AWS / "template.yaml"
GIVEN = {
    "SolutionStack": "64bit Amazon Linux 2023 v4.5.0 running Docker",
    "BundleBucket": "programs",
    "BundleKey": "one",
}
UNKNOWN_TO_MOTO = {
    "AWS::SecretsManager::Secret", "AWS::ElasticBeanstalk::Application", "AWS::ElasticBeanstalk::ApplicationVersion",
    "AWS::ElasticBeanstalk::Environment", "AWS::S3::BucketPolicy",
}  # fmt: skip
CERTIFICATES = "-----BEGIN CERTIFICATE-----\nof the test\n-----END CERTIFICATE-----\n"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def template() -> Document:
    document: Document = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    return document


def test_the_template_is_one_that_cfn_lint_finds_nothing_in() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", TEMPLATE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def options(template: Document) -> dict[tuple[str, str], Any]:
    """Elastic Beanstalk's settings, by namespace and name. Those for a certificate count as given."""
    settings = template["Resources"]["Environment"]["Properties"]["OptionSettings"]
    chosen = [each["Fn::If"][1] if "Fn::If" in each else each for each in settings]
    found = {(each["Namespace"], each["OptionName"]): each["Value"] for each in chosen}
    assert len(found) == len(chosen)
    return found


def test_every_variable_of_the_environment_is_one_that_charrnn_reads(
    template: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {
        name: value
        for (space, name), value in options(template).items()
        if space.startswith("aws:elasticbeanstalk:application:environment")
    }
    of_mysql = {f"MYSQL_{name}" for name in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")}
    known = {variable(name) for name in Settings.model_fields} | of_mysql
    assert set(named) - known == {"CHARRNN_PUBLIC", "AWS_DEFAULT_REGION"}
    for name in named:
        monkeypatch.setenv(name, {"MYSQL_PORT": "3306"}.get(name, "a value of sixteen letters"))
    for name, value in named.items():
        if isinstance(value, str):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHARRNN_STORAGE_URL", named["CHARRNN_STORAGE_URL"]["Fn::Sub"].replace("${Bucket}", "bucket"))
    settings = Settings()
    assert settings.database_tls == "required"
    assert settings.database_tls_ca is not None
    assert settings.cookie_secret is not None
    assert settings.admin_token is not None
    assert settings.database_url.get_secret_value().startswith("mysql+pymysql://charrnn:a%20value")
    network = template["Resources"]["Network"]["Properties"]["CidrBlock"]
    assert network in settings.trusted_proxies


def test_secrets_are_made_by_amazon_and_only_ever_referred_to(template: Document) -> None:
    secret = ("MYSQL_PASSWORD", "CHARRNN_COOKIE_SECRET", "CHARRNN_ADMIN_TOKEN")
    found = {name: (space, value) for (space, name), value in options(template).items() if name in secret}
    assert set(found) == set(secret)
    assert {space for space, _ in found.values()} == {"aws:elasticbeanstalk:application:environmentsecrets"}
    for _, value in found.values():
        properties = template["Resources"][value["Ref"]]["Properties"]
        assert "SecretString" not in properties
        assert properties["GenerateSecretString"]["PasswordLength"] >= 32
    assert found["MYSQL_PASSWORD"][1]["Ref"] in json.dumps(template["Resources"]["Database"])


def test_the_load_balancer_keeps_dashboards_together_and_asks_who_is_live(template: Document) -> None:
    found = options(template)
    process = "aws:elasticbeanstalk:environment:process:default"
    assert found["aws:elasticbeanstalk:environment", "LoadBalancerType"] == "application"
    assert found[process, "StickinessEnabled"] == "true"
    assert (found[process, "HealthCheckPath"], found[process, "MatcherHTTPCode"]) == ("/charrnn/api/v1/live", "204")
    assert int(found["aws:elbv2:loadbalancer", "IdleTimeout"]) > 2 * 15  # a stream says something every 15 seconds
    assert found["aws:elbv2:listener:443", "Protocol"] == "HTTPS"
    assert found["aws:elbv2:listener:default", "ListenerEnabled"] == {"Fn::If": ["HasCertificate", "false", "true"]}


# -- created, as far as moto goes --------------------------------------------------------------------------------------


class Made:
    """What moto's server has made of the template."""

    def __init__(self, server: S3, template: Document) -> None:
        self.server = server
        known = json.loads(json.dumps(template))
        for name, resource in template["Resources"].items():
            if resource["Type"] in UNKNOWN_TO_MOTO:  # whoever refers to it finds an address of its kind
                del known["Resources"][name]
                address = f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"
                known["Parameters"][name] = {"Type": "String", "Default": address}
        del known["Outputs"]["Address"]  # of the environment
        # moto stumbles over a database and its parameter group in one template
        group = known["Resources"]["Database"]["Properties"].pop("DBParameterGroupName")
        assert group == {"Ref": "DatabaseParameters"}
        self.known = known
        stacks = self.client("cloudformation")
        stacks.create_stack(
            StackName="charrnn", TemplateBody=json.dumps(known), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in GIVEN.items()],
        )  # fmt: skip
        (self.stack,) = stacks.describe_stacks(StackName="charrnn")["Stacks"]
        self.resources = stacks.list_stack_resources(StackName="charrnn")["StackResourceSummaries"]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in self.stack["Outputs"]}
        self.bucket: str = self.outputs["BucketName"]

    def client(self, service: str, **login: str) -> Any:
        import botocore.session

        login = login or {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return botocore.session.Session().create_client(
            service, endpoint_url=self.server.endpoint, region_name="us-east-1", **login
        )

    def policies(self) -> dict[str, Document]:
        """What a machine may do. moto keeps it as Python writes it, not as JSON."""
        role, client = self.outputs["MachineRoleName"], self.client("iam")
        names = client.list_role_policies(RoleName=role)["PolicyNames"]
        return {
            name: ast.literal_eval(client.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
            for name in names
        }


@pytest.fixture(scope="module")
def made(template: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with started(tmp_path_factory.mktemp("moto") / "log") as server:
        yield Made(server, template)


def test_all_that_moto_knows_of_is_created(made: Made) -> None:
    assert made.stack["StackStatus"] == "CREATE_COMPLETE"
    assert {each["LogicalResourceId"] for each in made.resources} == set(made.known["Resources"])


def test_the_bucket_is_encrypted_and_forgets_uploads_that_were_cut_off(made: Made, template: Document) -> None:
    client = made.client("s3")
    encryption = client.get_bucket_encryption(Bucket=made.bucket)["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    bucket = template["Resources"]["Bucket"]  # moto leaves these out
    assert all(bucket["Properties"]["PublicAccessBlockConfiguration"].values())
    (rule,) = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert bucket["DeletionPolicy"].startswith("Retain")


def test_the_database_is_private_encrypted_and_speaks_only_so(made: Made, template: Document) -> None:
    client = made.client("rds")
    (database,) = client.describe_db_instances()["DBInstances"]
    assert (database["Engine"], database["EngineVersion"][:2]) == ("mysql", "8.")
    assert (database["StorageEncrypted"], database["PubliclyAccessible"]) == (True, False)
    assert database["BackupRetentionPeriod"] >= 7
    resources = template["Resources"]
    assert resources["DatabaseParameters"]["Properties"]["Parameters"] == {"require_secure_transport": "1"}
    assert resources["Database"]["DeletionPolicy"] == "Snapshot"
    (group,) = (
        each
        for each in made.client("ec2").describe_security_groups()["SecurityGroups"]
        if each["Description"] == "the database of charrnn"
    )
    (rule,) = group["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (3306, 3306, [])
    assert len(rule["UserIdGroupPairs"]) == 1
    ways_out = [each for each in resources.values() if each["Type"] == "AWS::EC2::SubnetRouteTableAssociation"]
    assert not any("Database" in each["Properties"]["SubnetId"]["Ref"] for each in ways_out)


def test_a_machine_may_do_only_what_is_named_with_only_what_is_its_own(made: Made) -> None:
    policies = made.policies()
    assert set(policies) == {"charrnn", "elastic-beanstalk"}
    for policy in policies.values():
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, resources = (
                each if isinstance(each, list) else [each] for each in (statement["Action"], statement["Resource"])
            )
            assert not any("*" in action for action in actions)
            assert all(resource.startswith("arn:aws:") for resource in resources)
            for resource in resources:  # a star stands only for what is below one thing with a name
                assert resource.count("*") == int(resource.endswith("/*")), resource
    ours = json.dumps(policies["charrnn"])
    assert ours.count("arn:aws:s3:::") == ours.count(f"arn:aws:s3:::{made.bucket}") == 2
    assert ours.count("arn:aws:secretsmanager:") == 3


def test_the_rights_of_a_machine_are_enough_for_storage_and_end_at_its_bucket(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = made.policies()
    with started(tmp_path / "log", INITIAL_NO_AUTH_ACTION_COUNT="6") as server:  # so many requests, then rights count
        login = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        iam, s3 = (Made.client(_at(server), service, **login) for service in ("iam", "s3"))
        iam.create_user(UserName="machine")
        iam.put_user_policy(UserName="machine", PolicyName="charrnn", PolicyDocument=json.dumps(policies["charrnn"]))
        key = iam.create_access_key(UserName="machine")["AccessKey"]
        for name in (made.bucket, "of-somebody-else"):
            s3.create_bucket(Bucket=name)
        s3.put_object(Bucket="of-somebody-else", Key="charrnn/diary.txt", Body=b"dear diary")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

        storage = Storage(f"s3://{made.bucket}/charrnn")
        storage.check()
        text = tmp_path / "text"
        text.write_bytes(b"x" * (40 * 2**20))  # large enough to go in parts
        for id in ("a", "b"):
            storage.put(text, model_key(id, "corpus.txt"))
        copy = storage.get(model_key("a", "corpus.txt"), tmp_path)
        assert copy.read_bytes() == text.read_bytes()
        assert not storage.exists(model_key("c", "corpus.txt"))
        storage.delete(model_key("a", "corpus.txt"))
        storage.delete_prefix("models/b")
        assert not storage.exists(model_key("b", "corpus.txt"))

        for place in (f"s3://{made.bucket}/elsewhere", "s3://of-somebody-else/charrnn"):
            with pytest.raises(StorageUnavailable, match="refuses"):
                Storage(place).check()
        with pytest.raises(StorageUnavailable, match="refuses"):
            Storage("s3://of-somebody-else/charrnn").get("diary.txt", tmp_path)


def _at(server: S3) -> Any:
    """Something with a server, as `Made.client` wants it."""
    return type("At", (), {"server": server})()


# -- the bundle and the commands ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deploy.sh would send of a repository with these very files, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    repository = folder / "repository"
    shutil.copytree(nginx.ROOT / "deploy", repository / "deploy")
    authorities = folder / "authorities.pem"
    authorities.write_text(CERTIFICATES)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        who = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**os.environ, **who, "RDS_CA": str(authorities), "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(words, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    deploy = (str(repository / "deploy/aws/deploy.sh"), "--bundle", "../bundle.zip")
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "files")):
        assert run("git", *words).returncode == 0
    refused = run(*deploy)
    assert (refused.returncode, refused.stderr) == (1, "deploy.sh: the last commit has no Dockerfile\n")
    (repository / "Dockerfile").write_text("FROM scratch\n")
    for words in (("add", "."), ("commit", "--quiet", "-m", "Dockerfile")):
        assert run("git", *words).returncode == 0
    (repository / "notes.txt").write_text("nobody's business")  # in no commit
    result = run(*deploy)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_bundle_has_the_program_and_what_elastic_beanstalk_looks_for(bundle: Path) -> None:
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    platform = {
        ".platform/nginx/conf.d/charrnn-map.conf",
        ".platform/nginx/conf.d/elasticbeanstalk/charrnn-location.conf",
        ".platform/hooks/prebuild/10_rds_authorities.sh",
        ".platform/hooks/postdeploy/10_upgrade_database.sh",
    }
    assert platform == {path for path in found if path.startswith(".platform/")}
    assert {"Dockerfile", "Dockerrun.aws.json", "rds-ca.pem", "deploy/aws/template.yaml"} <= found
    assert "notes.txt" not in found
    assert (bundle / "rds-ca.pem").read_text() == CERTIFICATES


def test_the_authorities_come_to_where_the_container_looks_for_them(bundle: Path, template: Document) -> None:
    container = json.loads((bundle / "Dockerrun.aws.json").read_text())
    (volume,) = container["Volumes"]
    path = options(template)["aws:elasticbeanstalk:application:environment", "CHARRNN_DATABASE_TLS_CA"]
    assert str(Path(path).parent) == volume["ContainerDirectory"] == volume["HostDirectory"]
    assert path in (bundle / ".platform/hooks/prebuild/10_rds_authorities.sh").read_text()


def test_elastic_beanstalks_nginx_takes_the_bundles_configuration(bundle: Path, tmp_path: Path) -> None:
    configuration = bundle / ".platform/nginx/conf.d"
    http = (  # as Elastic Beanstalk's own configuration does, in which compression is off
        "upstream docker { server 127.0.0.1:8888; keepalive 256; }\n"
        f"include {configuration}/*.conf;\n"
        'map $http_upgrade $connection_upgrade { default "upgrade"; }\n'
        "server { listen 127.0.0.1:8080 default_server; gzip off; client_body_timeout 60; location / "
        f"{{ proxy_pass http://docker; }}\ninclude {configuration}/elasticbeanstalk/*.conf; }}"
    )
    nginx.checked(nginx.around(tmp_path / "nginx", http))
    location = (configuration / "elasticbeanstalk" / "charrnn-location.conf").read_text()
    assert (nginx.SHIPPED / "proxy.conf").read_text() in location


@pytest.mark.parametrize("script", sorted(path.relative_to(AWS).as_posix() for path in AWS.rglob("*.sh")))
def test_a_script_is_one_that_bash_understands(script: str) -> None:
    result = subprocess.run(["bash", "-n", str(AWS / script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "set -euo pipefail" in (AWS / script).read_text() or script == "common.sh"


COMMANDS = ("create.sh", "deploy.sh", "destroy.sh")


def refusal(command: str, path: str, **environment: str) -> str:
    """What a command says that must not go on, run with these programs and variables only."""
    result = subprocess.run(
        [shutil.which("bash") or "bash", str(AWS / command)], env={"PATH": path, **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    return result.stderr


def programs(folder: Path, aws: str | None = None) -> str:
    """A folder with what the scripts use of the system, and a stand-in for Amazon's command line, if any."""
    for name in ("bash", "basename", "dirname", "mktemp", "rm", "cat"):
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(name))
    if aws is not None:
        (folder / "aws").write_text(f"#!/bin/bash\n{aws}\n")
        (folder / "aws").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_amazons_command_line_or_credentials_a_command_says_so_and_does_nothing(
    command: str, tmp_path: Path
) -> None:
    for name in ("none", "refused", "known"):
        (tmp_path / name).mkdir()
    none = programs(tmp_path / "none")
    assert refusal(command, none, AWS_REGION="eu-central-1").startswith(f"{command}: the command line of AWS is needed")
    assert "4 to 40 letters" in refusal(command, none, CHARRNN_STACK="a b")
    refused = programs(tmp_path / "refused", aws="exit 255")  # as without credentials
    assert "no region is chosen" in refusal(command, refused)
    assert "there are no credentials" in refusal(command, refused, AWS_REGION="eu-central-1")
    known = programs(tmp_path / "known", aws='[ "$1" = sts ]')  # credentials, and no site
    if command != "create.sh":
        assert "there is no site 'charrnn' in eu-central-1" in refusal(command, known, AWS_REGION="eu-central-1")


def test_nothing_is_destroyed_unless_its_name_is_typed(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "programs").mkdir()
    path = programs(tmp_path / "programs", aws=f'echo "$1 $2" >> {asked}\necho of-the-site')
    for typed in ("", "yes\n", "CHARRNN\n"):
        result = subprocess.run(
            [shutil.which("bash") or "bash", str(AWS / "destroy.sh")], env={"PATH": path, "AWS_REGION": "eu-central-1"},
            input=typed, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 1
        assert "'of-the-site'" in result.stdout  # what is kept is said before anybody is asked
        assert result.stderr.endswith("destroy.sh: nothing was changed\n")
    assert "delete-stack" not in asked.read_text()
