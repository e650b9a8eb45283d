export type { Advice } from './advice.ts';
export { Cadence, cadenceMigration } from './cadence.ts';
export { CrashMarker } from './crash.ts';
export { DiskGuard, type DiskLimits, type DiskState } from './disk.ts';
export { Heartbeat, heartbeatMigration, type SendHeartbeat, type SignedHeartbeat } from './heartbeat.ts';
export { metricsServer } from './metrics.ts';
export { buildStatus, type PartState, type Status, type StatusInputs } from './status.ts';
export {
  type Bilingual,
  distrustNames,
  type Doer,
  doerNames,
  holdReasonNames,
  type SourceKind,
  stateNames,
  type StateWord,
} from './words.ts';
export { clockMigration, TrustedClock } from './trusted-clock.ts';
