"""Which files of the CWRU Bearing Data Center this course uses, and how each is known to be the right one.

Numbers, conditions and loads are CWRU's (the outer-race faults are those at 6 o'clock, in the load zone). The sampling
rate stands in no file: CWRU's tables give 12 kHz for one set of drive-end faults and 48 kHz for the other. That 97 is
at 48 kHz, too, shows in its spectrum: read so, all of the shaft's first 30 harmonics stand out, as in the other files
at 48 kHz; in files at 12 kHz that are read so, at most 10 do.

174 is odd: its variables are called X173, it is a quarter as long as the others at 48 kHz, and the inner-race frequency
does not stand out in it, nor do the shaft's harmonics at either rate.
"""

from __future__ import annotations

from typing import NamedTuple


class CwruFile(NamedTuple):
    """A file whose contents are known."""

    number: int
    condition: str
    load: int  # horsepower
    sampling_rate: int  # Hz
    bytes: int
    sha256: str

    @property
    def path(self) -> str:
        """Where it lies in LABKIT_DATA and in the cache."""
        return f"CWRU/{self.number}.mat"


class OptionalFile(NamedTuple):
    """A Normal file of which only the md5 sum of one copy is known: used where it lies, never downloaded."""

    number: int
    load: int  # horsepower
    md5: str
    sampling_rate: int = 48_000  # Hz; taken over from 97, since these could not be examined

    @property
    def path(self) -> str:
        """Where it is looked for in LABKIT_DATA and in the cache."""
        return f"CWRU/{self.number}.mat"


OPTIONAL = (
    OptionalFile(98, 1, "3983dcddead0d4b910ee1e8d3da164b9"),
    OptionalFile(99, 2, "edc080a0b4fbc0c2ec8b7f1403372b73"),
    OptionalFile(100, 3, "cc57a511b95785c805055d99281ea2bb"),
)

FILES = (
    CwruFile(97, "Normal", 0, 48_000, 3_903_344, "16bf48babcf1c7ac224bc1a81cd9eafdb27e42d5cf559761907e067e8eeadf3c"),
    CwruFile(105, "IR007", 0, 12_000, 2_910_768, "f80b0ea04fd06b372a0eaec7c056543ea37e4bb4727a5b173d2a5bacd2aa9cab"),
    CwruFile(106, "IR007", 1, 12_000, 2_928_192, "e5cec7cdd138e6cd1deb9ed8634e5aaa9bc1bd7094ddc075bff606580eb6e883"),
    CwruFile(107, "IR007", 2, 12_000, 2_931_672, "111ba8996a115684661a13c913bd74d8029a59294492f88aec7b03e175fdd388"),
    CwruFile(108, "IR007", 3, 12_000, 2_950_416, "d415f0e65128bfa0b118c2051c988fb0dc6ce3e4c8aa45fdc5ad1d0967462e7d"),
    CwruFile(109, "IR007", 0, 48_000, 3_903_344, "daddef5f784879becdf8fefbe2453f11c3cfc8d061a2a671da2f546d1bb48460"),
    CwruFile(118, "B007", 0, 12_000, 2_942_112, "b00628f8dd8d1d930af77fa465d1e5cdb385fe259489053f91f3680bda7f640e"),
    CwruFile(119, "B007", 1, 12_000, 2_914_248, "bc72d9df7668219e004a0f711232b23ec0aed393eb9bd8f9f5483426f6b51330"),
    CwruFile(120, "B007", 2, 12_000, 2_917_752, "e0b7a584c49af52335ff0904a97d4afcf02d045625c582de63a7c85ce10b489c"),
    CwruFile(121, "B007", 3, 12_000, 2_917_752, "52f686e984ba8e9b04a047a57416271cdb322cee57ee105dce58926a24b966cb"),
    CwruFile(122, "B007", 0, 48_000, 3_916_160, "f392129bf3b43360b964d4e5b3479d0797d1647af8359934b0f56b9abab4739a"),
    CwruFile(130, "OR007", 0, 12_000, 2_928_192, "35a095307d0971477049b343a1b5981dde465a58fb7f233ad89b035068c1717d"),
    CwruFile(131, "OR007", 1, 12_000, 2_938_632, "7883f7b83beadc54b2f301767f9145ce07055707182fb0278fdf0a6bb53ce3cb"),
    CwruFile(132, "OR007", 2, 12_000, 2_914_248, "17a69ed5d2270b42532e678e35bbe2fa04a2cc413cf2bf9e88c7692de8662d18"),
    CwruFile(133, "OR007", 3, 12_000, 2_942_112, "53f076cb0d905cf46bffaee7736abce8224ffed777deed03c0c863d762a90c71"),
    CwruFile(135, "OR007", 0, 48_000, 3_896_944, "5a1c3ceec1f2b58af9e01051e425aa9d31dd018f58a8d31cda25bbdb1ac6dca9"),
    CwruFile(169, "IR014", 0, 12_000, 2_924_712, "f5448673725c4ea2735fe7d3fe4b16ad82b217eac6b62c4bf351c4549b0a5229"),
    CwruFile(170, "IR014", 1, 12_000, 2_924_712, "bcb73a5208b67265468232a2e342f53719850901671d0ee28494f3af97621f46"),
    CwruFile(171, "IR014", 2, 12_000, 2_924_712, "63d0fdc1a68e64610ddfaf56a9c224d6137ab7b5c0d318eea1d542b9e5ffc029"),
    CwruFile(172, "IR014", 3, 12_000, 2_921_232, "f75170ceef70d5da475671de0d2e52a0acd9b3883ad422b6deaf2907d888ba24"),
    CwruFile(174, "IR014", 0, 48_000, 1_020_944, "ca7113a900d9217aa5632e0dad4f8791caed4d314321daa011719e1bc99f3026"),
    CwruFile(185, "B014", 0, 12_000, 2_924_712, "5bea2c60f177215ba3ec4ae287faf745d7e14aed1a12efe9e37b27c27044bafc"),
    CwruFile(186, "B014", 1, 12_000, 2_931_672, "1b3b6f3ad38e891feaa8026fe957b34f62f9082785089cc74f6878acdfe88ec5"),
    CwruFile(187, "B014", 2, 12_000, 2_928_192, "0f1338cce89beb5c8d8e5e154579bc576354e7c7d1617ebd1759662c6f3100b2"),
    CwruFile(188, "B014", 3, 12_000, 2_931_672, "1981614324d653c2522bea68fd4fd87e337495b117d12596db67abd1e10e7443"),
    CwruFile(189, "B014", 0, 48_000, 3_986_672, "6fd84310f781e1ab54a9a746b8626c73a863f2b02cea4c86229ca2444cb20a9a"),
    CwruFile(197, "OR014", 0, 12_000, 2_924_712, "fa571b47cd942f9514a920b403fb7c053cd442bb2963a360a96d0f61432f03e9"),
    CwruFile(198, "OR014", 1, 12_000, 2_931_672, "dbd58e4585ca8f8332c708b15936987ec0990ca701359fd2483dae2719df5b49"),
    CwruFile(199, "OR014", 2, 12_000, 2_924_712, "ca4e6407fdb68845a6973da6028477911a62d018580063749fe956441be95cf2"),
    CwruFile(200, "OR014", 3, 12_000, 2_928_192, "2526483d2701220a700df8e6c9db0c527641b0887225907f4096610dd7120f4b"),
    CwruFile(201, "OR014", 0, 48_000, 3_922_576, "6c27615a61f19f05f65cf2cc2aa4bca5bda051c9d93a708d0ee8baf5138834fa"),
    CwruFile(209, "IR021", 0, 12_000, 2_931_672, "9f723d6d9d2eba714c6dc50f99321dffa73d8b1e4d3605675b2c2251511eff80"),
    CwruFile(210, "IR021", 1, 12_000, 2_917_752, "596692397e77e129a00f7b7a61c4c3ffd6c7a59979b89039e7f70a7431cce1c7"),
    CwruFile(211, "IR021", 2, 12_000, 2_924_712, "8296a02ee489c2d16cbd9fc278ca2e29b22475cec70ebe840558c78b6b743dc1"),
    CwruFile(212, "IR021", 3, 12_000, 2_928_192, "bfe13761f545a26b217db897a12d27e16fec74306aa86ade8dbdc8ebe587c253"),
    CwruFile(213, "IR021", 0, 48_000, 3_909_760, "6afb81f36a9efcdd370a52166d71c13cb42278c7de22752c81d4b2a22fa133f0"),
    CwruFile(222, "B021", 0, 12_000, 2_928_192, "fcc0ee740fa123b1f4683f555458891719efb2857afd9fdee63e8fde0ed14469"),
    CwruFile(223, "B021", 1, 12_000, 2_921_232, "7287410fd2217e3b332c5ab4732a68963be046d7d17bd40efa41cabe6a0514e5"),
    CwruFile(224, "B021", 2, 12_000, 2_931_672, "8a16894c2ff4d6bcdb9f4c345c0d5f13737b3bd6d15015d6b566c86e7a3ee7b7"),
    CwruFile(225, "B021", 3, 12_000, 2_931_672, "ece92fa141af03473fdfca80d00d9112472a20340224514e79979c6ddc97a6cf"),
    CwruFile(226, "B021", 0, 48_000, 3_903_344, "fc78f08085760f2e17bcf7efe486b3a278e108093cd184acf278daecad6765e4"),
    CwruFile(234, "OR021", 0, 12_000, 2_938_632, "ebcbdb96612e8085bbdbf81f0e5e8e8a8d1a693d1ec559c4894f7792771aa9b2"),
    CwruFile(235, "OR021", 1, 12_000, 2_928_192, "667e4bf1f213f92d10dca71d494ad002d8fd22bfd8004b31a4c71ccf0d764b66"),
    CwruFile(236, "OR021", 2, 12_000, 2_935_152, "c411d6d9826cba8073430555dc833e05fcbe4c38535f3eb7f03c525ea6797589"),
    CwruFile(237, "OR021", 3, 12_000, 2_928_192, "233d1edb2daa963658369119e389e30f02aca551dd7bb028ab33e7ba63edfd20"),
    CwruFile(238, "OR021", 0, 48_000, 3_941_808, "63209a4057f199beb42beedf5b4481987fdb3ac746c46777dd385d689bc481df"),
)
