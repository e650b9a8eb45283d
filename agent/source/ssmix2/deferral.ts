/**
 * Patients of whom something is deferred: seen in the tree, not read, because they are not eligible yet. One row a
 * patient names the categories that wait; the files themselves are in the catalogue. Each run asks about the rows that
 * were asked longest ago, and looks at a patient's whole folder when an answer has changed.
 */
import type { Category } from '../../model/category.ts';
import { ConnectorError } from '../../model/errors.ts';
import { patientOf } from './facts.ts';
import type { PatientPath } from './root.ts';
import type { Run } from './run.ts';
import type { RootScan } from './scan.ts';

export const deferralKind = 'deferred';

/** Patients asked about in one run: a question costs 20 µs and a row written, and a run is due every few minutes. */
export const askedMax = 5_000;
/** At a time, so that what is held in memory and in one transaction stays small. */
const pageSize = 400;

interface Deferral {
  readonly root: string;
  readonly path: PatientPath;
  readonly patientId: string;
  readonly categories: readonly Category[];
}

export function encodeDeferral(deferral: Deferral): Uint8Array {
  return Buffer.from(JSON.stringify(deferral));
}

function decodeDeferral(value: Uint8Array): Deferral {
  return JSON.parse(Buffer.from(value).toString()) as Deferral;
}

export function categoriesOf(value: Uint8Array | undefined): ReadonlySet<Category> {
  return new Set(value ? decodeDeferral(value).categories : []);
}

/** @throws what Intake.accept throws. @throws RunEnded */
export async function askDeferred(run: Run, scans: readonly RootScan[]): Promise<void> {
  const { intake } = run.host;
  for (let asked = 0; asked < askedMax; ) {
    const page = intake.states(deferralKind, { below: run.number, limit: Math.min(pageSize, askedMax - asked) });
    if (page.length === 0) return;
    for (const { value } of page) await ask(run, scans, value);
    await run.draft.commit();
    asked += page.length;
  }
}

async function ask(run: Run, scans: readonly RootScan[], value: Uint8Array): Promise<void> {
  const { root, path, patientId, categories } = decodeDeferral(value);
  const patient = patientOf(patientId, run.options);
  const scan = scans.find(({ key }) => key === root);
  const isDue = categories.some((category) => run.host.intake.wants(patient, category) !== 'defer');
  if (isDue && scan && (await looked(scan, path, patientId))) return;
  run.draft.remember({ kind: deferralKind, key: `${root}\n${path.join('/')}`, value, mark: run.number });
}

/** False when the folder cannot be looked at now; what is wrong with its root, that root's own passes tell. */
async function looked(scan: RootScan, path: PatientPath, patientId: string): Promise<boolean> {
  try {
    return await scan.patient(path, patientId);
  } catch (error) {
    if (error instanceof ConnectorError && error.code === 'SSMIX2_ROOT_UNREADABLE') return false;
    throw error;
  }
}
