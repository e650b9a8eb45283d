/**
 * How a kind of source is made known. A new kind is one folder, called like it, that calls `defineSource`, and one entry
 * in `registry.ts`; the configuration's schema, its example and the composition root follow from that. `example.yaml`
 * in the folder is what the example shows of it. docs/adding-a-source.md goes the whole way.
 *
 * ```ts
 * export const hl7v2 = defineSource({
 *   kind: 'hl7v2',
 *   options: z.strictObject({ listen: listenAddress().describe('…') }),
 *   load: async () => {
 *     const { Hl7v2Source } = await import('./listener.ts');
 *     return (options, host) => new Hl7v2Source(options, host);   // options: yours and SourceCommon, parsed
 *   },
 * });
 * ```
 * Option types with units and ranges are in `base/options.ts`.
 */
import { z } from 'zod';
import { configName, schedule } from '../base/options.ts';
import { categories } from '../model/category.ts';
import type { Source, SourceHost } from '../model/ports.ts';

/** How the patient numbers of one system are brought to the form the register knows. */
export const patientIdOptions = z
  .strictObject({
    strip: z
      .enum(['none', 'leading-zeros', 'non-digits'])
      .default('none')
      .describe(
        'What is taken off a patient number before it is looked up: nothing, zeros in front, or all but digits.',
      ),
    pad: z
      .int()
      .min(1)
      .max(20)
      .optional()
      .describe('Zeros are put in front up to this many characters, after `strip`; without it nothing is.'),
    ownAuthorities: z
      .array(z.string().max(227))
      .max(64)
      .default([])
      .describe("Assigning authorities (CX.4, an identifier's system) that mean this facility's own numbering."),
  })
  .prefault({});

export type PatientIdOptions = z.output<typeof patientIdOptions>;

/** What every source has, whatever its kind. */
export const sourceCommonShape = {
  name: configName().describe('Name of this source, for ever: records are known by it. Unique.'),
  schedule: schedule()
    .optional()
    .describe('When to poll, as a cron expression, Asia/Tokyo. A listener alone needs none.'),
  patientId: patientIdOptions.describe("How this system's patient numbers are normalised."),
  categories: z
    .record(z.string().min(1).max(64), z.enum([...categories, 'unclassified']))
    .default({})
    .describe(
      "Local codes (message, document or file types) and the category each belongs to; before the source's own table.",
    ),
  whenFull: z
    .enum(['refuse', 'gap'])
    .default('refuse')
    .describe(
      'What a full disk means to the sender: `refuse` answers busy so that it waits; `gap` acknowledges, notes the gap and fetches later.',
    ),
  succeeds: configName()
    .optional()
    .describe('Name of the source this one replaces, so that what it delivered is not delivered again.'),
} as const;

const sourceCommon = z.strictObject(sourceCommonShape);
export type SourceCommon = z.output<typeof sourceCommon>;

/** Makes an idle source. Written as a method, so that those of several kinds fit one list. */
export type CreateSource<Options = unknown> = {
  create(options: Options & SourceCommon, host: SourceHost): Source;
}['create'];

export interface SourceDefinition<Kind extends string = string, Options extends z.ZodObject = z.ZodObject> {
  readonly kind: Kind;
  readonly options: Options;
  /** Brings the code of the source, which stays on the disk where no source of its kind is configured. */
  load(): Promise<CreateSource<z.output<Options>>>;
}

export function defineSource<const Kind extends string, Options extends z.ZodObject>(
  definition: SourceDefinition<Kind, Options>,
): SourceDefinition<Kind, Options> {
  return definition;
}

/** The configuration of one source of this kind, parsed. */
export type SourceConfigOf<Definition> =
  Definition extends SourceDefinition<infer Kind, infer Options>
    ? { readonly kind: Kind } & SourceCommon & z.output<Options>
    : never;
