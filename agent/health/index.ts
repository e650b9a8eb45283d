export { Cadence, cadenceMigration } from './cadence.ts';
export { CrashMarker } from './crash.ts';
export { DiskGuard, type DiskLimits, type DiskState } from './disk.ts';
export { Heartbeat, heartbeatMigration, type SendHeartbeat, type SignedHeartbeat } from './heartbeat.ts';
export { MetricsServer } from './metrics.ts';
export { buildStatus, type Status, type StatusInputs } from './status.ts';
export { clockMigration, TrustedClock } from './trusted-clock.ts';
