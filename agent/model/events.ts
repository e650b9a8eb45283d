import type { ErrorCode } from './errors.ts';

/**
 * Every event worth telling: one log line and one counter each. The fields are numbers, names from the configuration
 * and codes from closed lists; there is no field that could carry a patient.
 *
 * `info` tells the story of a day in a few hundred lines, `warn` means someone may need to act, `error` means someone
 * must, and has a code.
 */
export type EventLevel = 'debug' | 'info' | 'warn' | 'error';

export const eventTable = {
  'agent.started': 'info',
  'agent.stopped': 'info',
  'agent.part-left': 'warn',
  'agent.paused': 'warn',
  'agent.resumed': 'info',
  'config.reloaded': 'info',
  'config.reload-failed': 'error',
  'source.listening': 'info',
  'source.connected': 'debug',
  'source.connection-refused': 'warn',
  'source.connection-closed': 'debug',
  'source.poll-finished': 'info',
  'source.failed': 'error',
  'source.recovered': 'info',
  'source.move-finished': 'debug',
  'source.incomplete': 'warn',
  'source.clock-differs': 'warn',
  'record.rejected': 'warn',
  'record.quarantined': 'warn',
  'record.undecodable': 'debug',
  'record.mismatched': 'warn',
  'parcel.sealed': 'info',
  'parcel.voided': 'warn',
  'parcel.uploaded': 'info',
  'parcel.stored': 'info',
  'parcel.opened': 'info',
  'parcel.rejected': 'error',
  'ship.failed': 'error',
  'ship.recovered': 'info',
  'receipt.refused': 'error',
  'retraction.sent': 'info',
  'register.imported': 'info',
  'register.refused': 'error',
  'register.changed': 'info',
  'register.stale': 'warn',
  'clock.trusted': 'info',
  'clock.distrusted': 'warn',
  'clock.stepped': 'warn',
  'schedule.missed': 'warn',
  'schedule.failed': 'warn',
  'hold.expired': 'warn',
  'disk.low': 'warn',
  'disk.full': 'error',
  'disk.recovered': 'info',
  'disk.reserve-released': 'error',
  'backup.journal-failed': 'warn',
  'heartbeat.failed': 'warn',
  'page.failed': 'error',
  // Producer's side
  'intake.listening': 'info',
  'intake.stopped': 'info',
  'intake.refused': 'warn',
  'intake.failed': 'error',
  'intake.hello': 'info',
  'intake.retraction-stored': 'warn',
  'intake.retraction-applied': 'info',
  'intake.revocations-loaded': 'info',
  'intake.revocations-refused': 'error',
} as const satisfies Readonly<Record<string, EventLevel>>;

export type EventName = keyof typeof eventTable;

export interface ConnectorEvent {
  readonly name: EventName;
  /** A configured source's or producer's name. */
  readonly source?: string;
  readonly producer?: string;
  readonly code?: ErrorCode;
  /** A parcel's id (random), never a record's. */
  readonly parcel?: string;
  /** Counts, bytes and durations by a plain name with its unit. */
  readonly numbers?: Readonly<Record<string, number>>;
  /** A word from a list in the code: a state, a reason. Never text from a peer. */
  readonly word?: string;
}
