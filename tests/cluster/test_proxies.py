"""What keeps a proxy away from the workers of a cluster, and nothing else."""

import pytest

from dqn_tf.cluster import proxies

PROXY = "http://127.0.0.1:9"
HOSTS = ["127.0.0.1", "127.0.0.1", "[::1]", "n9"]


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, {}),
        ({"no_proxy": "a"}, {}),
        ({"http_proxy": ""}, {}),
        ({"http_proxy": PROXY}, {"no_proxy": "127.0.0.1,::1,n9"}),
        ({"GRPC_Proxy": PROXY}, {"no_proxy": "127.0.0.1,::1,n9"}),
        ({"ALL_PROXY": PROXY, "no_proxy": "a, n9 ,"}, {"no_proxy": "a,n9,127.0.0.1,::1"}),
        # Who reads NO_PROXY reads no_proxy before it, so that this must say the same.
        (
            {"https_proxy": PROXY, "NO_PROXY": "a"},
            {"no_proxy": "a,127.0.0.1,::1,n9", "NO_PROXY": "a,127.0.0.1,::1,n9"},
        ),
        # gRPC reads no_grpc_proxy before no_proxy.
        (
            {"https_proxy": PROXY, "no_grpc_proxy": "b", "no_proxy": "a"},
            {"no_proxy": "a,127.0.0.1,::1,n9", "no_grpc_proxy": "b,127.0.0.1,::1,n9"},
        ),
    ],
)
def test_around_excepts_the_hosts_beside_what_the_user_has(environ, expected):
    assert proxies.around(HOSTS, environ) == expected
