import type { CreateSource, SourceConfigOf, SourceDefinition } from './define.ts';
import { dicom } from './dicom/index.ts';
import { fhir } from './fhir/index.ts';
import { hl7v2 } from './hl7v2/index.ts';
import { ssmix2 } from './ssmix2/index.ts';

/** Every kind of source there is, one line each. */
export const sourceKinds = [hl7v2, dicom, ssmix2, fhir] as const;

export type SourceConfig = SourceConfigOf<(typeof sourceKinds)[number]>;

/**
 * Brings the code of the configured kinds, a megabyte or more each, and no other.
 *
 * @returns what makes an idle source from its part of the configuration
 */
export async function loadSources(configs: readonly { readonly kind: string }[]): Promise<CreateSource<SourceConfig>> {
  const definitions: readonly SourceDefinition[] = sourceKinds;
  const wanted = definitions.filter(({ kind }) => configs.some((config) => config.kind === kind));
  const loaded = wanted.map(async (definition) => [definition.kind, await definition.load()] as const);
  const creators = new Map(await Promise.all(loaded));
  return (config, host) => {
    const create = creators.get(config.kind);
    if (!create) throw new TypeError(`no source of kind ${config.kind} was loaded`);
    return create(config, host);
  };
}
