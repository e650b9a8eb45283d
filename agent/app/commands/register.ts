import { userInfo } from 'node:os';
import { z } from 'zod';
import { dayJst, isDay, isoJst, startOfDayJst } from '../../base/clock.ts';
import { addFiling, addNoticeVersion, notify } from '../../flow/register.ts';
import { refreshSubjects } from '../../flow/refresh.ts';
import { recordStop, withdrawStop } from '../../flow/stop.ts';
import { categories } from '../../model/category.ts';
import { bases } from '../../model/ports.ts';
import type { AppContext } from '../context.ts';
import { defineCommand } from './command.ts';

const day = z.string().refine(isDay, 'expected a day, YYYY-MM-DD');
const patient = z.string().trim().min(1, 'expected a patient number').max(64);
const basis = z.enum(bases);
const stopBasis = z.enum([...bases, 'all']);
const word = z.string().trim().min(1).max(64);
const items = z.array(z.enum(categories, `expected categories of: ${categories.join(', ')}`)).min(1);

/** Who did it, for the ledger: the account the command ran under. */
const via = () => `command of ${userInfo().username}`;

/** The register: what patients were told and asked, what was filed. */
export const registerCommands = {
  'register.notice': defineCommand(
    z.strictObject({ version: word, basis, categories: items, from: day }),
    (app, { version, ...rest }) => {
      addNoticeVersion(app.store, { version, ...rest }, via());
      changed(app, 'notice');
      return { registered: version };
    },
  ),

  'register.filing': defineCommand(
    z.strictObject({ producer: word, basis, categories: items, from: day }),
    async (app, filing) => {
      addFiling(app.store, filing, via());
      changed(app, 'filing');
      await app.housekeeper.look();
      return { filed: filing };
    },
  ),

  'register.notify': defineCommand(
    z.strictObject({ patient, notice: word, on: day }),
    (app, { notice, on, ...args }) => {
      notify(app.store, { name: app.registerFolder.nameOf(args.patient), version: notice, on, via: via() });
      app.housekeeper.poke();
      return { notified: true };
    },
  ),

  'register.stop': defineCommand(
    z.strictObject({ patient, basis: stopBasis.optional(), on: day.optional() }),
    async (app, args) => {
      const request = {
        name: app.registerFolder.nameOf(args.patient),
        basis: args.basis ?? ('all' as const),
        stoppedOn: args.on ?? dayJst(app.time.now()),
        via: via(),
      };
      const { isNew, after, subject } = recordStop(app.store, request);
      // Uploads are broken off before anybody is told that the stop is in force.
      await app.finish(after);
      changed(app, 'stop');
      app.settleSoon();
      await app.copyJournal();
      return { stopped: true, isNew, subjectId: app.store.subjects.publicId(subject), voided: after.abort.length };
    },
  ),

  'register.withdraw': defineCommand(z.strictObject({ patient, basis: stopBasis.optional() }), (app, args) => {
    const name = app.registerFolder.nameOf(args.patient);
    const count = withdrawStop(app.store, { name, basis: args.basis ?? 'all', via: via() });
    const subject = app.store.subjects.find(name);
    if (subject !== undefined) {
      app.store.db.transaction(() => refreshSubjects(app.store, app.store.subjects.family(subject))).immediate();
    }
    return { withdrawn: count };
  }),

  'register.import': defineCommand(
    z.strictObject({ file: z.string(), acceptShrink: z.boolean().optional(), keep: z.boolean().optional() }),
    async (app, { file, acceptShrink }, call) => {
      const result = await app.registerFolder.import(file, {
        via: via(),
        acceptShrink: acceptShrink ?? false,
        progress: (done, total) => call.progress({ done, total, unit: 'rows' }),
      });
      await app.housekeeper.look();
      return result;
    },
  ),

  'register.show': defineCommand(
    z.strictObject({ patient: patient.optional(), asOf: day.optional() }),
    (app, { patient: id, asOf }) => show(app, id, asOf),
  ),
};

function changed(app: AppContext, word: string): void {
  app.report({ name: 'register.changed', word });
  app.housekeeper.poke();
}

/** The register as it was known at the end of a day; without one, as it is. */
function show(app: AppContext, patientId: string | undefined, asOf: string | undefined) {
  const { register, gate } = app.store;
  const until = asOf === undefined ? Number.POSITIVE_INFINITY : startOfDayJst(asOf) + 86_400_000;
  const fresh = gate.asOf();
  const common = {
    ...(asOf !== undefined && { asOf }),
    register: { version: register.version(), ...(fresh !== undefined && { asOf: isoJst(fresh) }) },
    paused: gate.paused() ?? null,
    notices: register.noticeVersions(until),
    filings: register.filings(until),
  };
  return patientId === undefined ? common : { ...common, patient: showPatient(app, patientId, until) };
}

function showPatient(app: AppContext, patientId: string, until: number) {
  const { subjects, register } = app.store;
  const subject = subjects.find(app.registerFolder.nameOf(patientId));
  if (subject === undefined) return { known: false };
  const family = subjects.family(subject);
  return {
    known: true,
    subjectId: subjects.publicId(subject),
    alsoKnownAs: family.flatMap((member) => subjects.names(member)).map(({ authority, id }) => ({ authority, id })),
    notices: family
      .flatMap((member) => register.notices(member))
      .filter(({ recordedAt }) => recordedAt < until)
      .map(({ version, notifiedOn, recordedAt }) => ({ version, notifiedOn, recordedAt: isoJst(recordedAt) })),
    stops: family
      .flatMap((member) => register.stops(member))
      .filter(({ recordedAt }) => recordedAt < until)
      .map(({ basis, stoppedOn, recordedAt, withdrawnAt }) => ({
        basis,
        stoppedOn,
        recordedAt: isoJst(recordedAt),
        inForce: withdrawnAt === null || withdrawnAt >= until,
      })),
  };
}
