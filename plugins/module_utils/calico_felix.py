# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a FelixConfiguration, by what they hold.

Source: the CRD felixconfigurations of Calico up to 3.30 and the reference documentation of 3.32. A false or a zero
says something here: nearly every field overrides a default of Felix's own.
"""

from __future__ import annotations

from typing import Any, Mapping

from .calico_schema import Flag, Free, ListOf, Struct, Text, Whole, Words
from .calico_values import read_any_network

_FLAGS = """
allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads bpfConnectTimeLoadBalancingEnabled
bpfDisableUnprivileged bpfEnabled bpfHostConntrackBypass bpfKubeProxyEndpointSlicesEnabled
bpfKubeProxyIptablesCleanupEnabled bpfPolicyDebugEnabled debugDisableLogDropping disableConntrackInvalidCheck
endpointReportingEnabled genericXDPEnabled healthEnabled ipipEnabled ipv6Support prometheusGoMetricsEnabled
prometheusMetricsEnabled prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled removeExternalRoutes
routeSyncDisabled sidecarAccelerationEnabled usageReportingEnabled useInternalDataplaneDriver vxlanEnabled
wireguardEnabled wireguardEnabledV6 wireguardHostEncryptionEnabled wireguardThreadingEnabled xdpEnabled
"""
_NUMBERS = """
bpfExtToServiceConnmark bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue bpfMapSizeIPSets bpfMapSizeIfState
bpfMapSizeNATAffinity bpfMapSizeNATBackend bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute debugPort
deviceRouteProtocol goGCThreshold goMaxProcs goMemoryLimitMB healthPort ipipMTU iptablesMarkMask maxIpsetSize
metadataPort nftablesMarkMask prometheusMetricsPort vxlanMTU vxlanMTUV6 vxlanPort vxlanVNI wireguardListeningPort
wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority
"""
_TEXTS = """
awsSrcDstCheck bpfAttachType bpfCTLBLogFilter bpfConnectTimeLoadBalancing bpfConntrackLogLevel bpfConntrackCleanupMode
bpfDataIfacePattern bpfDisableGROForIfaces bpfEnforceRPF bpfExternalServiceMode bpfHostNetworkedNATWithoutCTLB
bpfKubeProxyHealthzPort bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogLevel bpfMapSizeConntrackScaling bpfProfiling
bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver dataplaneWatchdogTimeout debugHost
debugMemoryProfilePath debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
defaultEndpointToHostAction deviceRouteSourceAddress deviceRouteSourceAddressIPv6 endpointReportingDelay
endpointStatusPathPrefix featureDetectOverride featureGates floatingIPs flowLogsCollectorDebugTrace
flowLogsFlushInterval flowLogsGoldmaneServer flowLogsLocalReporter flowLogsPolicyEvaluationMode healthHost
interfaceExclude interfacePrefix interfaceRefreshInterval ipForwarding ipsetsRefreshInterval iptablesBackend
iptablesFilterAllowAction iptablesFilterDenyAction iptablesLockFilePath iptablesLockProbeInterval iptablesLockTimeout
iptablesMangleAllowAction iptablesNATOutgoingInterfaceFilter iptablesPostWriteCheckInterval iptablesRefreshInterval
istioAmbientMode logDebugFilenameRegex logFilePath logPrefix logSeverityFile logSeverityScreen logSeveritySys
metadataAddr mtuIfacePattern natOutgoingAddress natOutgoingExclusions netlinkTimeout nftablesFilterAllowAction
nftablesFilterDenyAction nftablesMangleAllowAction nftablesMode nftablesRefreshInterval openstackRegion
policySyncPathPrefix programClusterRoutes prometheusMetricsCAFile prometheusMetricsCertFile
prometheusMetricsClientAuth prometheusMetricsHost prometheusMetricsKeyFile reportingInterval reportingTTL
requireMTUFile routeRefreshInterval routeSource serviceLoopPrevention usageReportingInitialDelay usageReportingInterval
windowsManageFirewallRules wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive workloadSourceSpoofing
xdpRefreshInterval
"""
# Numbers or texts by version, lists, structures.
_OTHERS = """
bpfConntrackTimeouts bpfDSROptoutCIDRs bpfExcludeCIDRsFromNAT bpfExportBufferSizeMB bpfForceTrackPacketsFromIfaces
bpfJITHardening bpfLogFilters bpfPSNATPorts externalNodesList healthTimeoutOverrides istioDSCPMark kubeNodePortRanges
logActionRateLimit logActionRateLimitBurst natPortRange routeTableRange routeTableRanges
"""
# `[]` closes them all, which leaving the field out does not.
_FAILSAFE = ListOf(
    Struct(
        {
            "protocol": Words(("TCP", "UDP", "SCTP", "tcp", "udp", "sctp"), required=True),
            "port": Whole(0, 65535),
            "net": Text(read_any_network),
        },
        kept=True,
    ),
    kept=True,
)
_FLAG, _WHOLE, _TEXT, _FREE = Flag(kept=True), Whole(), Text(), Free()

FELIX_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(_FLAGS.split(), _FLAG),
    **dict.fromkeys(_NUMBERS.split(), _WHOLE),
    **dict.fromkeys(_TEXTS.split(), _TEXT),
    **dict.fromkeys(_OTHERS.split(), _FREE),
    "failsafeInboundHostPorts": _FAILSAFE,
    "failsafeOutboundHostPorts": _FAILSAFE,
}
