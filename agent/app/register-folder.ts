import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { normalizePatientId } from '../base/patient-id.ts';
import { writeDurable } from '../base/files.ts';
import type { Config } from '../config/schema.ts';
import { believeIfFresh } from '../flow/epoch.ts';
import type { Housekeeper } from '../flow/housekeeper.ts';
import { importRegister, type ImportResult } from '../flow/register.ts';
import type { AfterCommit, Store } from '../flow/store.ts';
import { parseRegisterFile, type RegisterFile } from '../gate/register-file.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import type { PatientName } from '../model/record.ts';

/** A file is read when it has not changed for this long: exports are written slowly, over a network. */
const quietMs = 3_000;

/** Files taken in one look; the rest wait for the next. */
const filesPerLookMax = 20;

/** Files this folder itself leaves for people. */
const reportSuffix = '.report.txt';
const refusedSuffix = '.refused';

/** What it needs of the agent. */
export interface RegisterFolderHost {
  readonly config: Config;
  readonly store: Store;
  readonly clock: Clock;
  readonly report: Report;
  readonly housekeeper: Pick<Housekeeper, 'poke'>;
  finish(after: AfterCommit): Promise<void>;
  settleSoon(): void;
  /** Brings the newest stops to the last backup, if there is one; trouble is told and no reason to fail. */
  copyJournal(): Promise<void>;
}

/** The watched folder of register files, and the import by hand: one way in for both. */
export class RegisterFolder {
  readonly #app: RegisterFolderHost;

  constructor(app: RegisterFolderHost) {
    this.#app = app;
  }

  /** Takes what lies in the folder and has settled. A refused file is renamed, with a report of why beside it. */
  async look(): Promise<void> {
    const { folder } = this.#app.config.register;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const names = (await readdir(folder)).filter(isRegisterFile).toSorted();
    for (const name of names.slice(0, filesPerLookMax)) {
      const path = join(folder, name);
      if (!(await this.#isQuiet(path))) continue;
      try {
        await this.import(path, { via: `folder ${name}` });
        await rm(path);
      } catch (error) {
        if (!(error instanceof ConnectorError)) throw error;
        await this.#refuse(path, error);
      }
    }
  }

  /**
   * Imports one file, from anywhere. Rejected rows are reported by line number in a file beside it.
   *
   * @throws ConnectorError FILE_UNREADABLE, REGISTER_*; nothing was taken.
   */
  async import(
    path: string,
    options: { via: string; acceptShrink?: boolean; progress?: (done: number, total: number) => void },
  ): Promise<ImportResult & { report?: string }> {
    const { store, report: tell } = this.#app;
    const notices = new Map(store.register.noticeVersions().map(({ version, basis }) => [version, basis]));
    const file = parseRegisterFile(await read(path), notices, store.time.now());
    const report = `${path}${reportSuffix}`;
    const result = await importRegister(store, file, {
      report: basename(report),
      via: options.via,
      acceptShrink: options.acceptShrink ?? false,
      nameOf: (patientId) => this.nameOf(patientId),
      finish: (after) => this.#app.finish(after),
      pause: async (done) => {
        options.progress?.(done, file.rows.length);
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
    if (result.stops > 0) await this.#afterStops();
    believeIfFresh(this.#app.store);
    const numbers = { notices: result.notices, stops: result.stops, rejected: result.rejected };
    tell({ name: 'register.imported', numbers });
    this.#app.housekeeper.poke();
    if (file.rejected.length === 0) return result;
    await writeDurable(report, Buffer.from(reportText(file)));
    return { ...result, report };
  }

  /** Producers are told, and the newest backup learns of it. */
  async #afterStops(): Promise<void> {
    this.#app.settleSoon();
    await this.#app.copyJournal();
  }

  /** A patient id as the register and the command line write it. */
  nameOf(patientId: string): PatientName {
    const { patientId: rule } = this.#app.config.register;
    return { authority: '', id: patientId, normalized: normalizePatientId(patientId, rule) };
  }

  async #isQuiet(path: string): Promise<boolean> {
    const { mtimeMs } = await stat(path);
    return Math.abs(this.#app.clock.now() - mtimeMs) >= quietMs;
  }

  async #refuse(path: string, error: ConnectorError): Promise<void> {
    this.#app.report({ name: 'register.refused', code: error.code });
    await rename(path, `${path}${refusedSuffix}`);
    const text = `${error.code}\n${error.message}\nHint: ${error.hint}\n${error.ja}\n`;
    await writeDurable(`${path}${refusedSuffix}${reportSuffix}`, Buffer.from(text));
  }
}

function isRegisterFile(name: string): boolean {
  return /\.csv$/i.test(name) && !name.startsWith('.');
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}

function reportText({ rejected }: RegisterFile): string {
  const lines = rejected.map(({ line, fault }) => `line ${line}: ${fault}`);
  return [`${rejected.length} row(s) were not taken / 取り込めなかった行:`, ...lines, ''].join('\n');
}
