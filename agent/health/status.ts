/**
 * The one snapshot of how the connector is: console, command line, heartbeat and metrics show these numbers and no
 * others. `buildStatus` is pure: the parts give plain data, this file says what it means and what a person must do.
 */
import type { DeliveryState } from '../buffer/deliveries.ts';
import type { EventName } from '../model/events.ts';
import { type ErrorCode, errorTable } from '../model/errors.ts';
import type { HoldReason } from '../model/ports.ts';
import type { Instant, Lane } from '../model/record.ts';
import type { LedgerHead, ReceiptStatus } from '../model/wire.ts';
import { type Advice, type AdviceReason, adviceReasons, advise } from './advice.ts';
import type { Silence } from './cadence.ts';
import type { DiskStatus } from './disk.ts';
import type { ClockStatus } from './trusted-clock.ts';
import { distrustNames, type SourceKind, type StateWord } from './words.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** A night's work is done in a day; two hours more are no reason to wake anybody. */
const backlogMsMax = 26 * hourMs;
const certificateDaysMin = 21;
const retractionMsMax = dayMs;
const openingMsMax = 7 * dayMs;
const backupMsMax = 48 * hourMs;

type PerLane = Readonly<Record<Lane, number>>;

export interface SourceInput {
  readonly name: string;
  readonly kind: SourceKind;
  /** Where it listens now; absent while it does not, or never does. */
  readonly port?: number;
  readonly isPaused: boolean;
  /** The error it is failing with now; absent when it works. */
  readonly code?: ErrorCode;
  /** The last poll that ended well, or record that was taken. */
  readonly lastOkAt?: Instant;
  readonly silence?: Silence;
  /** Deliveries held or ready from this source, by lane. */
  readonly queued: PerLane;
  /** Everything up to here has been read. */
  readonly completeThrough?: Instant;
}

export interface ProducerInput {
  readonly name: string;
  readonly isPaused: boolean;
  readonly code?: ErrorCode;
  readonly lastContactAt?: Instant;
  readonly lastStoredAt?: Instant;
  /** The newest receipt: of which parcel, and when it was verified here. */
  readonly lastReceipt?: { readonly status: ReceiptStatus; readonly sequence: number; readonly at: Instant };
  /** Deliveries ready or packed for it, by lane. */
  readonly queued: PerLane;
  /** When its oldest such delivery became ready. */
  readonly oldestUnsentAt?: Instant;
  /** When the oldest `stored` parcel that is not yet `opened` was stored. */
  readonly oldestUnopenedAt?: Instant;
}

export interface JobInput {
  readonly name: string;
  readonly lastOk?: Instant;
  /** `ok`, `running`, `stopped`, `window` or an error code. */
  readonly lastCode?: string;
  readonly missed: number;
  readonly running: boolean;
  readonly paused: boolean;
  readonly nextDue?: Instant;
}

export interface CertificateInput {
  /** `client`, `server`, `ca` and the producer's name. */
  readonly name: string;
  readonly notAfter: Instant;
}

/** In the hospital, encrypted, not provided: 院内保留・暗号化・未提供. */
export interface HeldStatus {
  readonly byReason: Readonly<Partial<Record<HoldReason, number>>>;
  /** When the first of it is destroyed if it still may not leave (`hold.days`); absent when nothing is held. */
  readonly firstUntil?: Instant;
}

export interface StatusInputs {
  readonly now: Instant;
  readonly version: string;
  readonly startedAt: Instant;
  readonly isSafeMode: boolean;
  /** Why the agent stopped itself although the process is there. */
  readonly fault?: ErrorCode;
  /** True while an operator has paused all of it; parts say so themselves. */
  readonly isPaused: boolean;
  readonly sources: readonly SourceInput[];
  readonly producers: readonly ProducerInput[];
  readonly deliveries: Readonly<Record<DeliveryState, number>>;
  readonly held: HeldStatus;
  readonly quarantined: number;
  readonly gaps: number;
  readonly register: { readonly fresh: boolean; readonly asOf?: Instant };
  readonly clock: ClockStatus;
  readonly disk: DiskStatus;
  readonly ledgerHead?: LedgerHead;
  readonly retractions: { readonly open: number; readonly oldestAt?: Instant };
  readonly jobs: readonly JobInput[];
  readonly certificates: readonly CertificateInput[];
  /** SHA-256 (hex) of the configuration that runs, was last received, and was last refused. */
  readonly config: { readonly running: string; readonly received?: string; readonly failed?: string };
  readonly recentCrashes: number;
  /** Pages for this machine (console, metrics) that could not be served, and why. */
  readonly unserved: readonly { readonly name: string; readonly code: ErrorCode }[];
  readonly lastBackupAt?: Instant;
  readonly events: ReadonlyMap<EventName, number>;
}

export interface Status {
  readonly state: StateWord;
  /** What to do about it, most urgent first. `ok` has none. */
  readonly advice: readonly Advice[];
  readonly at: Instant;
  readonly version: string;
  readonly uptimeMs: number;
  readonly sources: readonly (SourceInput & { readonly state: PartState })[];
  readonly producers: readonly (ProducerInput & { readonly state: PartState })[];
  readonly deliveries: Readonly<Record<DeliveryState, number>>;
  readonly held: HeldStatus;
  readonly quarantined: number;
  readonly gaps: number;
  readonly oldestUnsentMs: number;
  readonly register: { readonly fresh: boolean; readonly asOf?: Instant };
  readonly clock: ClockStatus;
  readonly disk: DiskStatus;
  readonly ledgerHead?: LedgerHead;
  readonly retractions: { readonly open: number; readonly oldestMs?: number };
  readonly jobs: readonly JobInput[];
  readonly certificates: readonly (CertificateInput & { readonly daysLeft: number })[];
  readonly config: StatusInputs['config'];
  readonly recentCrashes: number;
  readonly backupAgeMs?: number;
  readonly events: Readonly<Partial<Record<EventName, number>>>;
}

export type PartState = 'ok' | 'failing' | 'paused' | 'silent';

export function buildStatus(inputs: StatusInputs): Status {
  const advice = adviceFor(inputs).toSorted((a, b) => rank(a.reason) - rank(b.reason));
  const { now, retractions, lastBackupAt, ledgerHead } = inputs;
  const { version, deliveries, held, quarantined, gaps, register, clock, disk, jobs, config, recentCrashes } = inputs;
  return {
    state: stateOf(inputs, advice),
    advice,
    at: now,
    version,
    uptimeMs: ageMs(now, inputs.startedAt),
    sources: inputs.sources.map((source) => ({ ...source, state: partState(source) })),
    producers: inputs.producers.map((producer) => ({ ...producer, state: partState(producer) })),
    deliveries,
    held,
    quarantined,
    gaps,
    oldestUnsentMs: Math.max(0, ...inputs.producers.map((producer) => ageMs(now, producer.oldestUnsentAt))),
    register,
    clock,
    disk,
    ...(ledgerHead && { ledgerHead }),
    retractions: {
      open: retractions.open,
      ...(retractions.oldestAt !== undefined && { oldestMs: ageMs(now, retractions.oldestAt) }),
    },
    jobs,
    certificates: inputs.certificates.map((certificate) => ({
      ...certificate,
      daysLeft: daysLeft(now, certificate.notAfter),
    })),
    config,
    recentCrashes,
    ...(lastBackupAt !== undefined && { backupAgeMs: ageMs(now, lastBackupAt) }),
    events: Object.fromEntries(inputs.events),
  };
}

function stateOf(inputs: StatusInputs, advice: readonly Advice[]): StateWord {
  if (inputs.isSafeMode) return 'safe';
  if (inputs.fault) return 'stopped-by-fault';
  if (inputs.isPaused) return 'paused';
  return advice.length > 0 ? 'attention' : 'ok';
}

function partState(part: { isPaused: boolean; code?: ErrorCode; silence?: Silence }): PartState {
  if (part.isPaused) return 'paused';
  if (part.code) return 'failing';
  return part.silence?.isUnusual ? 'silent' : 'ok';
}

/** One function a theme; each looks at its own part of the inputs only. */
function adviceFor(inputs: StatusInputs): Advice[] {
  return [
    ...aboutMode(inputs),
    ...aboutHolding(inputs),
    ...aboutDisk(inputs),
    ...inputs.sources.flatMap(aboutSource),
    ...inputs.producers.flatMap((producer) => aboutProducer(producer, inputs.now)),
    ...inputs.certificates.flatMap((certificate) => aboutCertificate(certificate, inputs.now)),
    ...inputs.jobs.flatMap(aboutJob),
    ...inputs.unserved.map(({ name, code }) => advise('page-unavailable', { subject: name, code })),
    ...aboutPeople(inputs),
  ];
}

function aboutMode({ isSafeMode, fault, isPaused, config }: StatusInputs): Advice[] {
  return [
    ...(isSafeMode ? [advise('safe-mode')] : []),
    ...(fault ? [advise('fault', { code: fault })] : []),
    ...(isPaused ? [advise('paused')] : []),
    ...(config.failed !== undefined ? [advise('config-failed')] : []),
  ];
}

function aboutHolding({ clock, register, now }: StatusInputs): Advice[] {
  const offsetMinutes = Math.round((clock.offsetMs ?? 0) / 60_000);
  const hours = hoursOf(ageMs(now, register.asOf));
  return [
    ...(clock.trusted ? [] : [advise('clock-untrusted', { ...distrustWords(clock), offsetMinutes })]),
    ...(register.asOf === undefined ? [advise('register-missing')] : []),
    ...(register.asOf !== undefined && !register.fresh ? [advise('register-stale', { hours })] : []),
  ];
}

function aboutDisk({ disk, now, lastBackupAt }: StatusInputs): Advice[] {
  const backupMs = ageMs(now, lastBackupAt);
  return [
    ...(disk.state === 'full' ? [advise('disk-full')] : []),
    ...(disk.state === 'low' ? [advise('disk-low')] : []),
    ...(backupMs > backupMsMax ? [advise('backup-old', { hours: hoursOf(backupMs) })] : []),
  ];
}

function aboutSource(source: SourceInput): Advice[] {
  const state = partState(source);
  const subject = source.name;
  if (state === 'failing' && source.code) return [advise('source-failing', { subject, code: source.code })];
  if (state === 'silent') return [advise('source-silent', { subject, hours: hoursOf(source.silence?.silentMs ?? 0) })];
  return [];
}

function aboutProducer(producer: ProducerInput, now: Instant): Advice[] {
  const subject = producer.name;
  const unsentMs = ageMs(now, producer.oldestUnsentAt);
  const unopenedMs = ageMs(now, producer.oldestUnopenedAt);
  const code = producer.isPaused ? undefined : producer.code;
  return [
    ...(code ? [advise('producer-unreachable', { subject, code })] : []),
    ...(unsentMs > backlogMsMax ? [advise('backlog-old', { subject, hours: hoursOf(unsentMs) })] : []),
    ...(unopenedMs > openingMsMax ? [advise('opening-late', { subject, days: Math.floor(unopenedMs / dayMs) })] : []),
  ];
}

function aboutCertificate({ name, notAfter }: CertificateInput, now: Instant): Advice[] {
  const days = daysLeft(now, notAfter);
  if (notAfter <= now) return [advise('certificate-expired', { subject: name })];
  return days < certificateDaysMin ? [advise('certificate-expiring', { subject: name, days })] : [];
}

function aboutJob({ name, lastCode, paused }: JobInput): Advice[] {
  if (paused || !isErrorCode(lastCode)) return [];
  return [advise('job-failing', { subject: name, code: lastCode })];
}

function aboutPeople({ deliveries, quarantined, retractions, now }: StatusInputs): Advice[] {
  const retractionMs = ageMs(now, retractions.oldestAt);
  return [
    ...(retractionMs > retractionMsMax ? [advise('retraction-open', { hours: hoursOf(retractionMs) })] : []),
    ...(deliveries.rejected > 0 ? [advise('delivery-rejected', { count: deliveries.rejected })] : []),
    ...(quarantined > 0 ? [advise('quarantined', { count: quarantined })] : []),
  ];
}

function distrustWords({ reason = 'unconfirmed' }: ClockStatus): { reason: string; reasonJa: string } {
  const { en, ja } = distrustNames[reason];
  return { reason: en, reasonJa: ja };
}

function isErrorCode(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(errorTable, code);
}

function rank(reason: AdviceReason): number {
  return adviceReasons.indexOf(reason);
}

function ageMs(now: Instant, then: Instant | undefined): number {
  return then === undefined ? 0 : Math.max(0, now - then);
}

function hoursOf(durationMs: number): number {
  return Math.round(durationMs / hourMs);
}

function daysLeft(now: Instant, notAfter: Instant): number {
  return Math.floor((notAfter - now) / dayMs);
}
