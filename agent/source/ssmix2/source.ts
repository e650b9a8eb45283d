/** The standardized storage of SS-MIX2 as a source: scanned, never listened to. */
import { type ConnectorError, isError } from '../../model/errors.ts';
import type { PollTally, Probe, Progress, Source, SourceHost } from '../../model/ports.ts';
import { askDeferred } from './deferral.ts';
import { listFolder, toPath } from './folder.ts';
import { timeOf } from './names.ts';
import { rootUnreadable } from './root.ts';
import { Run, RunEnded, type ScanOptions } from './run.ts';
import { readCursor, RootScan } from './scan.ts';

export class Ssmix2Source implements Source {
  readonly #options: ScanOptions;
  readonly #host: SourceHost;
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | undefined;

  constructor(options: ScanOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
  }

  async poll(signal: AbortSignal, progress: Progress): Promise<PollTally> {
    const signals = AbortSignal.any([signal, this.#host.signal, this.#stopping.signal]);
    const run = new Run({ options: this.#options, host: this.#host, signal: signals, progress });
    const running = this.#go(run);
    this.#running = running.catch(() => undefined);
    const isComplete = await running;
    return { offered: run.draft.counts.offered, outcomes: run.draft.counts.outcomes, complete: isComplete };
  }

  async probe(): Promise<Probe> {
    let newest = '';
    for (const [index, root] of this.#options.roots.entries()) {
      const cursor = readCursor(this.#host.intake.state('cursor', root)?.value);
      try {
        const { folders } = await listFolder(toPath(root));
        if (folders.length === 0 && cursor.patients > 0)
          return { ok: false, error: rootUnreadable(index, undefined, 'empty') };
      } catch (cause) {
        return { ok: false, error: rootUnreadable(index, cause) };
      }
      if (cursor.newest > newest) newest = cursor.newest;
    }
    const age = newest === '' ? 'not scanned yet' : `newest file ${timeOf(newest) ?? ''}`;
    return { ok: true, peer: `SS-MIX2 storage, ${this.#options.roots.length} root(s), ${age}` };
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** True when the run came to its end; false when it was broken off, or has more to do than one run may. */
  async #go(run: Run): Promise<boolean> {
    const scans = this.#options.roots.map((_, index) => new RootScan(run, index));
    try {
      const isComplete = await passes(run, scans);
      run.tell(scans.reduce((sum, { patients }) => sum + patients, 0));
      return isComplete;
    } catch (error) {
      if (!(error instanceof RunEnded)) throw error;
      // The brake keeps what it has let through; who is told to stop does not wait for one more commit.
      if (!run.signal.aborted) await run.draft.commit();
      return false;
    } finally {
      run.close();
      this.#report(run);
    }
  }

  #report({ quarantined, unreadableFolders }: Run): void {
    const source = this.#host.name;
    if (quarantined > 0) this.#host.report({ name: 'record.quarantined', source, numbers: { records: quarantined } });
    if (unreadableFolders === 0) return;
    const numbers = { folders: unreadableFolders };
    this.#host.report({ name: 'source.failed', source, code: 'SSMIX2_FOLDER_UNREADABLE', numbers });
  }
}

/**
 * Today first, then what has become due, then the slice. A root that cannot be read does not keep the others from
 * being scanned: it is told when they are done.
 */
async function passes(run: Run, scans: readonly RootScan[]): Promise<boolean> {
  const failures: ConnectorError[] = [];
  const readable: RootScan[] = [];
  for (const scan of scans) {
    if (await succeeds(() => scan.recent(), failures)) readable.push(scan);
  }
  await run.draft.commit();
  await askDeferred(run, readable);
  let isComplete = true;
  for (const scan of readable) {
    await succeeds(async () => {
      isComplete = (await scan.slice()) && isComplete;
    }, failures);
    await run.draft.commit();
  }
  if (failures[0]) throw failures[0];
  return isComplete;
}

async function succeeds(pass: () => Promise<void>, failures: ConnectorError[]): Promise<boolean> {
  try {
    await pass();
    return true;
  } catch (error) {
    if (!isError(error, 'SSMIX2_ROOT_UNREADABLE')) throw error;
    failures.push(error);
    return false;
  }
}
