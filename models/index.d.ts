/** Absolute paths of the models that come with Tsukimi, by the name that `--model` takes. */
export declare const bundledModels: {
  readonly 'tsukimi-demo': string;
  readonly 'tsukimi-demo-1m': string;
};
