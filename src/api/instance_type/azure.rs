//! Azure's own sizes, so that a deployment written for the managed product finds its `instanceType`.

/// A size: name, family as quotas count it, cores, memory, GPUs (a part of one counts as one, as its driver offers it).
pub struct Size {
    /// Its name, as `Standard_DS3_v2`.
    pub name: &'static str,
    /// The family that quotas count it in.
    pub family: &'static str,
    /// Cores.
    pub cores: u32,
    /// Memory, as a Kubernetes quantity.
    pub memory: &'static str,
    /// GPUs.
    pub gpus: u32,
}

/// Sizes of the managed product's list, from Azure's pages of each series (November 2026).
pub const SIZES: &[Size] = &[
    size("Standard_DS1_v2", "dsv2", 1, "3.5Gi", 0),
    size("Standard_DS2_v2", "dsv2", 2, "7Gi", 0),
    size("Standard_DS3_v2", "dsv2", 4, "14Gi", 0),
    size("Standard_DS4_v2", "dsv2", 8, "28Gi", 0),
    size("Standard_DS5_v2", "dsv2", 16, "56Gi", 0),
    size("Standard_F2s_v2", "fsv2", 2, "4Gi", 0),
    size("Standard_F4s_v2", "fsv2", 4, "8Gi", 0),
    size("Standard_F8s_v2", "fsv2", 8, "16Gi", 0),
    size("Standard_F16s_v2", "fsv2", 16, "32Gi", 0),
    size("Standard_F32s_v2", "fsv2", 32, "64Gi", 0),
    size("Standard_F72s_v2", "fsv2", 72, "144Gi", 0),
    size("Standard_D2as_v4", "dasv4", 2, "8Gi", 0),
    size("Standard_D4as_v4", "dasv4", 4, "16Gi", 0),
    size("Standard_D8as_v4", "dasv4", 8, "32Gi", 0),
    size("Standard_E2s_v3", "esv3", 2, "16Gi", 0),
    size("Standard_E4s_v3", "esv3", 4, "32Gi", 0),
    size("Standard_E8s_v3", "esv3", 8, "64Gi", 0),
    size("Standard_NC4as_T4_v3", "ncast4v3", 4, "28Gi", 1),
    size("Standard_NC8as_T4_v3", "ncast4v3", 8, "56Gi", 1),
    size("Standard_NC16as_T4_v3", "ncast4v3", 16, "110Gi", 1),
    size("Standard_NC64as_T4_v3", "ncast4v3", 64, "440Gi", 4),
    size("Standard_NC6s_v3", "ncsv3", 6, "112Gi", 1),
    size("Standard_NC12s_v3", "ncsv3", 12, "224Gi", 2),
    size("Standard_NC24s_v3", "ncsv3", 24, "448Gi", 4),
    size("Standard_NC24ads_A100_v4", "ncadsa100v4", 24, "220Gi", 1),
    size("Standard_NC48ads_A100_v4", "ncadsa100v4", 48, "440Gi", 2),
    size("Standard_NC96ads_A100_v4", "ncadsa100v4", 96, "880Gi", 4),
    size("Standard_NC40ads_H100_v5", "ncadsh100v5", 40, "320Gi", 1),
    size("Standard_NC80adis_H100_v5", "ncadsh100v5", 80, "640Gi", 2),
    size("Standard_NV6ads_A10_v5", "nvadsa10v5", 6, "55Gi", 1),
    size("Standard_NV12ads_A10_v5", "nvadsa10v5", 12, "110Gi", 1),
    size("Standard_NV36ads_A10_v5", "nvadsa10v5", 36, "440Gi", 1),
];

const fn size(name: &'static str, family: &'static str, cores: u32, memory: &'static str, gpus: u32) -> Size {
    Size { name, family, cores, memory, gpus }
}
