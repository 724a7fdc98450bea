"""iPXE, as QEMU's network ROM, boots a guest of a /32 through its tap: address, gateway, menu and file."""

from __future__ import annotations

import subprocess
from contextlib import closing

from tests.dhcpd.netns.daemon import bind, binding, running
from tests.netns.lab import Lab, environment, until

ENV = environment("add-routed-ifup-1")
MENU = "#!ipxe\nimgfetch tftp://198.51.100.1/second || echo failed\nsleep 60\n"
MACHINE = (
    *("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults"),
    *("-boot", "n", "-serial", "null", "-no-reboot"),
    *("-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no"),
    *("-device", f"virtio-net-pci,netdev=n,mac={ENV['MAC']}"),
)


def test_ipxe_boots_a_guest_of_a_slash_32() -> None:
    """Its gateway is in no subnet of its own, the server behind it. It gets the file of its own kind, and asks no
    second server.
    """
    with closing(Lab()) as lab:
        router = lab.router()
        node = lab.node("node1", router)
        router.write("/srv/tftp/menu.ipxe", MENU)
        router.write("/srv/tftp/second", "x")
        node.ip("tuntap add tap0 mode tap")
        node.up(ENV)
        keys = {"subnet": f"{ENV['IP']}/32", "gateway": "169.254.1.1", "next_server": "198.51.100.1"}
        keys |= {"subnet6": "2001:db8:1::/64", "gateway6": "2001:db8:1::1"}  # else it waits 16 s for a router
        bind(
            node,
            "tap0",
            binding(mac=ENV["MAC"], hostname="vm1", ip=ENV["IP"], **keys)
            + "BOOT=bios undionly.kpxe, ipxe menu.ipxe\n",
        )
        tftp = (
            "dnsmasq",
            "-k",
            "-p",
            "0",
            "--enable-tftp",
            "--tftp-root=/srv/tftp",
            "--log-facility=/var/tftp.log",
        )
        with running(node) as daemon:
            server = subprocess.Popen(router.command(*tftp, "-u", "root", "-x", "/var/tftp.pid"))
            guest = subprocess.Popen(node.command(*MACHINE), stdout=subprocess.DEVNULL)
            try:
                sent = f"sent /srv/tftp/second to {ENV['IP']}"
                assert until(lambda: sent in router.run("cat", "/var/tftp.log", check=False).stdout, 60), (
                    daemon.counts("tap0"),
                    router.run("cat", "/var/tftp.log", check=False).stdout,
                )
                assert "undionly" not in router.read("/var/tftp.log")
                assert daemon.counts("tap0")["ack"] == 1
            finally:
                for process in (guest, server):
                    process.terminate()
                    process.wait(10)
