import type { Settings } from '../base/settings.ts';
import type { Config } from '../config/schema.ts';
import type { Housekeeper } from '../flow/housekeeper.ts';
import type { AfterCommit, Store } from '../flow/store.ts';
import type { Cadence, CrashMarker, DiskGuard, Status, TrustedClock } from '../health/index.ts';
import type { ErrorCode } from '../model/errors.ts';
import type { Clock, Progress, Report } from '../model/ports.ts';
import type { Scheduler } from '../schedule/index.ts';
import type { Faults } from './faults.ts';
import type { Pauses } from './pauses.ts';
import type { ProducerPart } from './producer-part.ts';
import type { RegisterFolder } from './register-folder.ts';
import type { SourcePart } from './source-part.ts';

/** The opened agent as its commands and its status see it. */
export interface AppContext {
  readonly config: Config;
  readonly store: Store;
  readonly settings: Settings;
  readonly time: TrustedClock;
  readonly clock: Clock;
  readonly report: Report;
  readonly disk: DiskGuard;
  readonly faults: Faults;
  readonly pauses: Pauses;
  readonly sources: ReadonlyMap<string, SourcePart>;
  readonly producers: ReadonlyMap<string, ProducerPart>;
  readonly scheduler: Scheduler;
  readonly housekeeper: Housekeeper;
  readonly registerFolder: RegisterFolder;
  readonly cadence: Cadence;
  readonly crash: CrashMarker;
  readonly startedAt: number;
  /** False while a command has opened the state of an agent that does not run. */
  readonly isServing: boolean;
  readonly refusedConfig: string | undefined;
  /** Pages for this machine that could not be served, and why. */
  readonly unserved: ReadonlyMap<string, ErrorCode>;
  status(): Status;
  finish(after: AfterCommit): Promise<void>;
  runNow(job: string, progress: Progress): Promise<unknown>;
  settleSoon(): void;
  /** Brings the newest stops to the last backup, if there is one; trouble is told and no reason to fail. */
  copyJournal(): Promise<void>;
  pause(part: string): Promise<void>;
  resume(part: string): Promise<void>;
  leaveSafeMode(): Promise<void>;
}
