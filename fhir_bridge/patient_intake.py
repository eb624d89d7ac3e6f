"""What an ADT message changes about the patients of the orders we hold (HL7 v2.5.1 chapter 3)."""
