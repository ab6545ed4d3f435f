"""What stored runs say together: intervals over seeds, ablations, rankings, Figure 1, the ledger of claims."""
